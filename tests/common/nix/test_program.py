"""Against the real Nix, with a store of its own."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import Cancelled, ControlError, HostUnavailable, InvalidRequest, NotFound, WrongState
from common.nix.program import Nix
from nixcc.resource.v1.resource_pb2 import Progress

pytestmark = pytest.mark.host

_FLAKE = """{ outputs = { self }: let
  d = name: script: more: derivation ({
    inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" script ];
  } // more);
in {
  ok = d "ok-1.0" "echo line; echo done > $out" { dep = d "dep-2.0" "echo dep > $out" { }; };
  bad = d "bad-1.0" "echo before; echo broken >&2; exit 3" { };
  hash = d "hash-1.0" "echo x > $out" {
    outputHashMode = "flat"; outputHashAlgo = "sha256";
    outputHash = "0000000000000000000000000000000000000000000000000000";
  };
  slow = d "slow-1.0" "echo $$ > PIDFILE; exec /bin/sleep 100" { };
  type = 1 + "a";
  gone = self.nothing;
  endless = let f = n: f (n + 1); in f 0;
}; }"""


@pytest.fixture(scope="module")
def nix(tmp_path_factory: pytest.TempPathFactory, require: Any) -> Iterator[Nix]:
    require(binary="nix")
    folder = tmp_path_factory.mktemp("nix")
    yield Nix(
        {
            "NIX_STORE_DIR": str(folder / "store"),
            "NIX_STATE_DIR": str(folder / "state"),
            "NIX_LOG_DIR": str(folder / "log"),
            "NIX_CONF_DIR": str(folder / "conf"),
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "NIX_CONFIG": "build-users-group =\nsandbox = false\nsubstituters =\n",
        }
    )
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def flake(tmp_path: Path) -> Path:
    (tmp_path / "flake.nix").write_text(_FLAKE.replace("PIDFILE", str(tmp_path / "pid")))
    return tmp_path


def build(nix: Nix, flake: Path, name: str, **fields: object) -> tuple[str, list[Progress]]:
    told: list[Progress] = []
    cancel = threading.Event()
    path = nix.build(f"building {name}", f"path:{flake}#{name}", told.append, cancel, **fields)  # type: ignore[arg-type]
    return path, told


def test_a_build_gives_its_path_and_its_progress(nix: Nix, flake: Path) -> None:
    path, told = build(nix, flake, "ok", out_link=flake / "result")

    assert Path(path).read_text() == "done\n"
    assert (flake / "result").readlink() == Path(path)
    assert max(progress.percent for progress in told) == 99
    assert "ok-1.0> line" in [progress.log_line for progress in told]
    assert nix.version() >= (2, 8)


@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("bad", WrongState, "bad-1.0 could not be built: exit code 3\n  bad-1.0> before\n  bad-1.0> broken"),
        ("hash", WrongState, "what was fetched is not what was declared: sha256-AAAA"),
        ("type", InvalidRequest, "evaluation failed: cannot"),
        ("gone", NotFound, "attribute 'nothing' missing (at flake.nix:14)"),
        ("nope", NotFound, "does not provide attribute"),
    ],
)
def test_failures_tell_their_cause(
    nix: Nix, flake: Path, name: str, kind: type[ControlError], part: str
) -> None:
    with pytest.raises(kind) as caught:
        build(nix, flake, name)

    assert part in str(caught.value)
    assert "flake.nix':" not in str(caught.value)


def test_a_syntax_error_has_its_line(nix: Nix, tmp_path: Path) -> None:
    (tmp_path / "flake.nix").write_text("{\n  outputs = { self }: { x = ; };\n}\n")

    with pytest.raises(InvalidRequest, match=r"syntax error.*\(at flake.nix:2\)"):
        build(nix, tmp_path, "x")


def test_a_flake_that_is_not_there(nix: Nix, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        build(nix, tmp_path / "nowhere", "x")


def test_a_network_that_does_not_answer(nix: Nix) -> None:
    with pytest.raises(HostUnavailable, match="network"):
        nix.run(["flake", "metadata", "--json", "git+http://127.0.0.1:1/x.git"])


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_a_build_that_hangs_ends_with_all_its_processes(nix: Nix, flake: Path, how: str) -> None:
    cancel = threading.Event()

    def report(progress: Progress) -> None:
        if how == "cancel" and "slow-1.0" in progress.message:
            threading.Timer(0.3, cancel.set).start()

    with pytest.raises(Cancelled if how == "cancel" else HostUnavailable):
        nix.build("building slow", f"path:{flake}#slow", report, cancel, timeout=60 if how == "cancel" else 3)

    if (flake / "pid").exists():
        pid = int((flake / "pid").read_text())
        deadline = time.monotonic() + 5
        while _runs(pid):
            assert time.monotonic() < deadline, "the builder still runs"
            time.sleep(0.02)


def test_an_evaluation_without_an_end_is_given_up(nix: Nix, flake: Path) -> None:
    with pytest.raises((HostUnavailable, WrongState, InvalidRequest)):
        nix.json(["eval", "--json", f"path:{flake}#endless"], timeout=5)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
