"""Real daemons as processes of their own, for tests of what crosses processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NCC = str(Path(sys.executable).parent / "ncc")


@dataclass
class Ncc:
    """The command line against one socket."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def socket(self) -> Path:
        return self.folder / "nixcc.sock"

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def run(
        self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [NCC, *arguments],
            input=stdin,
            env=self.env(env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def out(self, *arguments: str, stdin: str = "") -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"ncc {arguments} ended with {done.returncode}: {done.stderr}"
        return done.stdout

    def json(self, *arguments: str, stdin: str = "") -> Any:
        return json.loads(self.out(*arguments, "-o", "json", stdin=stdin))

    def env(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        base = {
            **os.environ,
            "NCC_SOCKET": str(self.socket),
            "NCC_VM_URI": "test:///default",
            "NO_COLOR": "1",
        }
        return {**base, **self.environment, **(extra or {})}

    def apply(self, *documents: Mapping[str, Any], wait: bool = True) -> None:
        text = "\n---\n".join(map(json.dumps, documents))
        self.out("apply", "-f", "-", *(["--wait", "--timeout", "30s"] if wait else []), stdin=text)

    def ready(self, kind: str, name: str) -> tuple[str, str]:
        """Status and reason of Ready."""
        item = self.json("get", kind, name)["items"][0]
        for condition in item["status"].get("conditions", []):
            if condition["type"] == "Ready":
                return condition["status"], condition["reason"]
        return "", ""


@dataclass
class Daemon(Ncc):
    """A running `ncc serve`."""

    process: subprocess.Popen[bytes] = None  # type: ignore[assignment]

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


def start(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Daemon:
    """Starts `ncc serve`; does not wait."""
    root = folder / "root"
    root.mkdir(parents=True, exist_ok=True)
    daemon = Daemon(folder)
    command = [
        *(NCC, "serve", *arguments),
        *("--state-dir", str(folder / "state"), "--socket", str(daemon.socket)),
        *("--root", str(root)),
    ]
    with (folder / "log").open("ab") as log:
        daemon.process = subprocess.Popen(command, env=daemon.env(env), stdout=log, stderr=log)
    return daemon


@contextmanager
def daemon(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, services: Sequence[str] = ("system",)
) -> Iterator[Daemon]:
    """A running `ncc serve` whose `services` answer; ended afterwards."""
    started = start(folder, *arguments, env=env)
    try:
        answering(started, services)
        yield started
    finally:
        try:
            started.stop()
        except subprocess.TimeoutExpired:
            started.stop(signal.SIGKILL)


def answering(started: Daemon, services: Sequence[str] = ("system",)) -> None:
    """Waits until the daemon and these services answer."""

    def up() -> bool:
        assert started.process.poll() is None, f"ncc serve ended: {started.log[-3000:]}"
        done = started.run("doctor", "-o", "json")
        if not done.stdout:
            return False
        levels = {row["what"]: row["level"] for row in json.loads(done.stdout)["findings"]}
        return levels.get("daemon") == "ok" and all(
            levels.get(f"service {name}") == "ok" for name in services
        )

    until(up, 30)


def until(test: Callable[[], Any], seconds: float = 15, every: float = 0.02) -> Any:
    """Waits until the test gives something true; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = test()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(every)


def file(name: str, path: str, content: str, **policy: Any) -> dict[str, Any]:
    """A File document."""
    document: dict[str, Any] = {
        "kind": "File",
        "metadata": {"name": name},
        "spec": {"path": path, "content": content, "mode": "0644"},
    }
    if policy:
        document["policy"] = policy
    return document
