"""`ncc` against a daemon that has a dockerd."""

from __future__ import annotations

import pytest

from daemons import Daemon


@pytest.fixture
def ncc(homelab: Daemon) -> Daemon:
    """In this folder it is that daemon's."""
    return homelab
