"""A registry with an image that gets newer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from dockerd import BUSYBOX, Dockerd
from registry import push, registry
from services.homelab.containers import keeper


@pytest.fixture(autouse=True)
def grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new image has less time to fail than on a host: still more than one that a spec names."""
    monkeypatch.setattr(keeper, "UPDATE_GRACE", 4.0)


@pytest.fixture(scope="module")
def shop(daemon: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where it is."""
    with registry(daemon, tmp_path_factory.mktemp("registry"), 5010) as where:
        yield where


@pytest.fixture
def release(daemon: Dockerd, shop: str) -> Callable[..., str]:
    """Puts a version of an image there; its digest. The engine keeps what it has under the name."""

    def run(name: str, version: str, script: str = "sleep infinity") -> str:
        reference = f"{shop}/{name}:1"
        had = daemon.docker("images", "--quiet", "--no-trunc", reference).stdout.strip()
        command = ("sh", "-c", f"trap exit TERM; : {version}; {script} & wait $!")
        digest = push(daemon, daemon.busybox(f"{name}-{version}:1", command=command), reference)
        if had:
            daemon.docker("tag", had, reference)
        else:
            daemon.docker("pull", reference)
        return digest

    assert BUSYBOX
    return run
