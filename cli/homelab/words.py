"""Words for people: states, times and colours of containers."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from typing import Any

from cli.output import GREEN, GREY, RED, YELLOW

# One a container, so that lines of many can be told apart; red is left for what is wrong.
COLOURS = ("36", "32", "33", "35", "34", "96", "92", "93", "95", "94")


def state(container: Any) -> str:
    """`running`, `running, unhealthy`, `exited 137`."""
    from nixcc.homelab.v1 import homelab_pb2 as pb

    word = str(pb.ContainerState.Name(container.state)).removeprefix("CONTAINER_STATE_").lower()
    if container.state in (pb.CONTAINER_STATE_EXITED, pb.CONTAINER_STATE_DEAD):
        return f"{word} {container.exit_code}"
    if container.health:
        health = str(pb.ContainerHealth.Name(container.health)).removeprefix("CONTAINER_HEALTH_").lower()
        return f"{word}, {health}"
    return word


def state_colour(container: Any) -> str:
    """Green for what is well, red for what isn't."""
    from nixcc.homelab.v1 import homelab_pb2 as pb

    if container.state == pb.CONTAINER_STATE_RUNNING:
        return {pb.CONTAINER_HEALTH_UNHEALTHY: RED, pb.CONTAINER_HEALTH_STARTING: YELLOW}.get(
            container.health, GREEN
        )
    if container.state in (pb.CONTAINER_STATE_EXITED, pb.CONTAINER_STATE_CREATED):
        return RED if container.exit_code else GREY
    return YELLOW


def moment(text: str) -> datetime:
    """`10m` ago, or a time such as `2026-11-24T05:00:00Z`; raises what argparse shows."""
    from cli.duration import seconds

    if len(text) > 9 and text[:4].isdigit() and text[4] == "-":
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no time: write 2026-11-24T05:00:00Z") from None
        return found.astimezone(UTC)
    return datetime.fromtimestamp(max(0.0, time.time() - seconds(text)), UTC)
