"""`ncc homelab`: its verbs, what there is not, completion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemons import Daemon, daemon

pytestmark = pytest.mark.host


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("frobnicate",), 2),
        (("logs",), 2),
        (("logs", "absent"), 5),
        (("logs", "--stack", "absent"), 5),
        (("show", "absent"), 5),
        (("exec", "absent"), 2),
        (("exec", "absent", "--", "ls"), 5),
        (("top", "absent"), 5),
        (("restart", "absent"), 5),
        (("stats", "absent"), 5),
        (("updates", "absent"), 5),
        (("pull", "x", "--credentials", "relative"), 2),
    ],
)
def test_what_is_not_there(homelab: Daemon, arguments: tuple[str, ...], code: int) -> None:
    done = homelab.run("homelab", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("ncc homelab: ")
    assert "→" in done.stderr
    assert "Traceback" not in done.stderr


def test_completion(homelab: Daemon, run: Any) -> None:
    run("web")
    assert "logs" in homelab.out("completion", "words", "homelab").split()
    assert homelab.out("completion", "words", "homelab", "logs").split() == ["web"]
    assert homelab.out("completion", "words", "homelab", "exec", "web").split() == []


def test_examples_are_admitted(tmp_path: Path, require: Any) -> None:
    require(binary="restic")
    examples = Path(__file__).resolve().parents[3] / "examples/homelab"
    with daemon(tmp_path, env={"NCC_HOMELAB_ENGINE": "memory:"}, services=("homelab",)) as center:
        done = center.run("diff", "-f", str(examples))
    assert done.returncode == 3, done.stderr
    for one in ("ContainerNetwork/media", "Container/photos", "Stack/shop", "BackupJob/nightly"):
        assert one in done.stdout
