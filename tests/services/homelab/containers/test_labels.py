"""Whose labels are whose."""

from __future__ import annotations

from services.homelab.containers import labels

ALL = {"who": "me", "io.nixcc.made": "yes", "com.docker.compose.project": "media"}


def test_only_what_was_asked_for() -> None:
    assert labels.own(ALL) == {"who": "me"}
    assert labels.compose(ALL) == {"com.docker.compose.project": "media"}
