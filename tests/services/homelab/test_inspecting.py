"""What inspect says, as docker 20.10 and podman 4.3 say it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.homelab.inspecting import listed_name, parse_time, view
from services.homelab.models import Health, State


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24T05:06:07.123456789Z", datetime(2026, 11, 24, 5, 6, 7, 123456, UTC)),
        ("2026-11-24T05:06:07Z", datetime(2026, 11, 24, 5, 6, 7, 0, UTC)),
        ("2026-11-24T07:06:07.5+02:00", datetime(2026, 11, 24, 5, 6, 7, 500000, UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        ("yesterday", None),
    ],
)
def test_times(text: str, expected: datetime | None) -> None:
    assert parse_time(text) == expected


def test_a_links_name_is_not_the_containers() -> None:
    assert listed_name({"Names": ["/web/db", "/db"]}) == "db"
    assert listed_name({"Names": ["db"]}) == "db"
    assert listed_name({"Id": "0123456789abcdef"}) == "0123456789ab"


def test_a_container_that_is_not_well_tells_the_end_of_its_last_failed_check() -> None:
    found = view(
        {
            "Id": "abc",
            "Name": "/web",
            "Image": "sha256:1",
            "RestartCount": 3,
            "Config": {
                "Image": "busybox:1",
                "Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": "front"},
            },
            "State": {
                "Status": "running",
                "ExitCode": 0,
                "StartedAt": "2026-11-24T05:06:07Z",
                "Health": {
                    "Status": "unhealthy",
                    "Log": [{"ExitCode": 1, "Output": " refused\n"}, {"ExitCode": 0, "Output": "ok"}],
                },
            },
            "NetworkSettings": {
                "Ports": {
                    "443/tcp": None,
                    "80/tcp": [
                        {"HostIp": "0.0.0.0", "HostPort": "8080"},
                        {"HostIp": "::", "HostPort": "8080"},
                    ],
                    "9/udp": [{"HostIp": "", "HostPort": "9"}],
                }
            },
        }
    )
    assert (found.name, found.state, found.health, found.health_output) == (
        "web",
        State.RUNNING,
        Health.UNHEALTHY,
        "refused",
    )
    assert found.ports == ("0.0.0.0:9->9/udp", "0.0.0.0:8080->80/tcp", "[::]:8080->80/tcp")
    assert (found.stack, found.service, found.restarts) == ("shop", "front", 3)


def test_podman_names_states_and_health_otherwise() -> None:
    found = view(
        {
            "Name": "web",
            "State": {"Status": "configured", "Healthcheck": {"Status": "starting"}},
        }
    )
    assert (found.name, found.state, found.health, found.started) == (
        "web",
        State.CREATED,
        Health.STARTING,
        None,
    )
