"""States and times of containers in words."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime

import pytest

from cli.homelab.words import moment, state, state_colour
from cli.output import GREEN, GREY, RED, YELLOW
from nixcc.homelab.v1 import homelab_pb2 as pb


@pytest.mark.parametrize(
    ("container", "text", "colour"),
    [
        (pb.ContainerInfo(state=pb.CONTAINER_STATE_RUNNING), "running", GREEN),
        (
            pb.ContainerInfo(state=pb.CONTAINER_STATE_RUNNING, health=pb.CONTAINER_HEALTH_UNHEALTHY),
            "running, unhealthy",
            RED,
        ),
        (
            pb.ContainerInfo(state=pb.CONTAINER_STATE_RUNNING, health=pb.CONTAINER_HEALTH_STARTING),
            "running, starting",
            YELLOW,
        ),
        (pb.ContainerInfo(state=pb.CONTAINER_STATE_EXITED), "exited 0", GREY),
        (pb.ContainerInfo(state=pb.CONTAINER_STATE_EXITED, exit_code=137), "exited 137", RED),
        (pb.ContainerInfo(state=pb.CONTAINER_STATE_PAUSED), "paused", YELLOW),
    ],
)
def test_states(container: pb.ContainerInfo, text: str, colour: str) -> None:
    assert state(container) == text
    assert state_colour(container) == colour


def test_moments() -> None:
    assert moment("2026-11-24T05:00:00Z") == datetime(2026, 11, 24, 5, tzinfo=UTC)
    assert abs(moment("10m").timestamp() - (time.time() - 600)) < 5
    assert moment("99999999h").timestamp() == 0
    for text in ("2026-13-01", "2026-11-24Tx", "soon"):
        with pytest.raises(argparse.ArgumentTypeError):
            moment(text)
