"""One real daemon for the tests of the command line: each test has a folder and names of its own in it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daemons import Daemon, daemon, file
from dockerd import BUSYBOX, Dockerd, dockerd


@dataclass
class Place:
    """The command line as one test meets it: `name` and `folder` (inside the root) are the test's own."""

    daemon: Daemon
    name: str
    scratch: Path

    @property
    def folder(self) -> Path:
        return self.daemon.root / self.name

    def run(self, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        done = self.daemon.run(*arguments, **how)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def out(self, *arguments: str, stdin: str = "") -> str:
        return self.daemon.out(*arguments, stdin=stdin)

    def json(self, *arguments: str, stdin: str = "") -> Any:
        return self.daemon.json(*arguments, stdin=stdin)

    def file(self, suffix: str = "", content: str = "hello\n", **policy: Any) -> dict[str, Any]:
        """A File document of this test; its label `test` tells whose it is."""
        document = file(self.name + suffix, f"/{self.name}/f{suffix}", content, **policy)
        document["metadata"]["labels"] = {"test": self.name}
        return document

    def vm(self, suffix: str = "", **spec: Any) -> dict[str, Any]:
        """A VirtualMachine document of this test."""
        return {
            "kind": "VirtualMachine",
            "metadata": {"name": self.name + suffix, "labels": {"test": self.name}},
            "spec": {"cpus": 1, "memory": "64MiB", "running": True, **spec},
        }

    def apply(self, *documents: Mapping[str, Any]) -> None:
        self.daemon.apply(*documents)

    def write(self, *documents: Mapping[str, Any], name: str = "manifest.yaml") -> str:
        """A manifest's path."""
        path = self.scratch / name
        path.write_text("\n---\n".join(map(json.dumps, documents)))
        return str(path)

    def item(self, kind: str = "File", suffix: str = "") -> Any:
        """The resource as `ncc get` prints it."""
        return self.json("get", kind, self.name + suffix)["items"][0]


@pytest.fixture(scope="session")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """`ncc serve` with every service."""
    with daemon(tmp_path_factory.mktemp("cli"), services=("system", "hardware", "vm")) as started:
        yield started


@pytest.fixture
def ncc(control: Daemon, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """The command line against it."""
    module = request.node.module.__name__.rsplit(".", 1)[-1].removeprefix("test_").strip("_")
    test = request.node.name.removeprefix("test_").split("[")[0][:40]
    return Place(control, f"{module}-{test}".replace("_", "-"), tmp_path)


@pytest.fixture(scope="session")
def docker(require: Any) -> Iterator[Dockerd]:
    require(binary="dockerd", root=True)
    with dockerd() as started:
        started.busybox()
        yield started


@pytest.fixture(scope="session")
def homelab(docker: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    environment = {"NCC_HOMELAB_ENGINE": docker.address}
    with daemon(tmp_path_factory.mktemp("homelab"), env=environment, services=("homelab",)) as started:
        yield started


@pytest.fixture
def run(docker: Dockerd) -> Iterator[Callable[..., str]]:
    made: list[str] = []

    def start(name: str, script: str = "sleep infinity", *options: str) -> str:
        made.append(name)
        arguments = ("run", "--detach", "--name", name, *options, BUSYBOX)
        docker.docker(*arguments, "sh", "-c", f"trap exit TERM; {script}")
        return name

    yield start
    docker.docker("rm", "--force", "--volumes", *made, check=False)
