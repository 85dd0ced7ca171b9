"""Against the real Nix, with a store of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
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
  slow = d "slow-1.0" "/bin/sleep 100 & echo $! > PIDFILE; wait" { };
  killed = d "killed-1.0" "echo before; kill -9 $$" { };
  nothing = d "nothing-1.0" "true" { };
  wide = d "wide-1.0" "echo CONTENT; exit 2" { };
  file = import ./absent.nix;
  deep = let f = n: 1 + f (n + 1); in f 0;
  type = 1 + "a";
  gone = self.none;
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
        ("gone", NotFound, "attribute 'none' missing (at flake.nix:19)"),
        ("nope", NotFound, "does not provide attribute"),
        ("killed", WrongState, "killed-1.0 could not be built: signal 9 (Killed)\n  killed-1.0> before"),
        ("nothing", WrongState, "nothing-1.0 could not be built: it did not produce output path"),
        ("file", InvalidRequest, "evaluation failed: the flake has no file absent.nix; correct its name"),
        ("deep", InvalidRequest, "evaluation failed: stack overflow"),
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


def test_a_folder_without_a_flake(nix: Nix, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no flake\.nix"):
        build(nix, tmp_path, "x")


@pytest.mark.parametrize("long", [True, False])
def test_a_repository_that_is_not_there(nix: Nix, tmp_path: Path, long: bool) -> None:
    url = f"git+file://{tmp_path}/none"

    with pytest.raises(NotFound, match="is no git repository"):
        if long:
            nix.build("building x", f"{url}#x", lambda _: None, threading.Event())
        else:
            nix.json(["eval", "--json", f"{url}#x"])


@pytest.mark.parametrize("limit", ["--timeout", "--max-silent-time"])
def test_a_build_past_its_limit_is_no_matter_of_the_network(nix: Nix, flake: Path, limit: str) -> None:
    with pytest.raises(WrongState, match=r"slow-1.0 could not be built: it .* for 1 seconds"):
        build(nix, flake, "slow", arguments=[limit, "1"])


def test_a_lock_file_from_the_future(nix: Nix, flake: Path) -> None:
    text = '{"nodes":{"root":{}},"root":"root","version":8}'
    (flake / "flake.lock").write_text(text)

    with pytest.raises(WrongState, match=r"flake\.lock has version 8"):
        build(nix, flake, "ok")
    assert (flake / "flake.lock").read_text() == text


def test_an_input_that_is_not_what_was_locked(nix: Nix, tmp_path: Path) -> None:
    source, user = tmp_path / "source", tmp_path / "user"
    for folder, text in (
        (source, "{ outputs = _: { x = 1; }; }"),
        (user, f'{{ inputs.a.url = "path:{source}"; outputs = {{ self, a }}: {{ x = a.x; }}; }}'),
    ):
        folder.mkdir()
        (folder / "flake.nix").write_text(text)
    nix.run(["flake", "lock", f"path:{user}"])
    (source / "flake.nix").write_text("{ outputs = _: { x = 2; }; }")
    # What was fetched before is forgotten.
    aside = Nix(
        {**nix.environment, "NIX_STORE_DIR": str(tmp_path / "s"), "NIX_STATE_DIR": str(tmp_path / "st")}
    )

    with pytest.raises(WrongState, match=r"not what was declared: sha256-\S+ was expected, sha256-\S+ came"):
        aside.json(["eval", "--json", f"path:{user}#x"])


def test_a_daemon_that_does_not_answer(nix: Nix, flake: Path, tmp_path: Path) -> None:
    away = Nix({**nix.environment, "NIX_REMOTE": "daemon", "NIX_DAEMON_SOCKET_PATH": str(tmp_path / "none")})

    with pytest.raises(HostUnavailable, match="the Nix daemon does not answer"):
        build(away, flake, "ok")


@pytest.mark.parametrize("what", ["NIX_STORE_DIR", "NIX_STATE_DIR"])
def test_a_full_disk(nix: Nix, flake: Path, tmp_path: Path, require: Any, what: str) -> None:
    require(root=True)
    disk = tmp_path / "disk"
    disk.mkdir()
    (flake / "ballast").write_bytes(os.urandom(2_000_000))
    size = "size=64k" if what == "NIX_STATE_DIR" else "size=1m"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", disk], capture_output=True)
    require(when=mounted.returncode == 0, reason="nothing can be mounted here")
    try:
        with pytest.raises(HostUnavailable, match="no room") as caught:
            build(Nix({**nix.environment, what: str(disk / "nix")}), flake, "ok")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)

    assert "ncc package gc" in caught.value.next_step


def test_too_little_memory_is_named(nix: Nix, flake: Path) -> None:
    """Killed as the kernel does when memory is short."""

    def kill(progress: Progress) -> None:
        for entry in Path("/proc").iterdir():
            try:
                argv = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if argv.startswith(b"nix\0") and f"path:{flake}#slow".encode() in argv.split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)

    with pytest.raises(HostUnavailable, match="Nix was ended by SIGKILL"):
        nix.build("building slow", f"path:{flake}#slow", kill, threading.Event(), timeout=60)

    # Nobody could end what the builder had begun.
    if (flake / "pid").exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((flake / "pid").read_text()), signal.SIGKILL)


def test_a_line_of_megabytes_is_told_in_short(nix: Nix, flake: Path) -> None:
    text = (flake / "flake.nix").read_text()
    (flake / "flake.nix").write_text(text.replace("echo CONTENT", "printf '%08000000d\\n' 1"))
    told: list[Progress] = []

    with pytest.raises(WrongState, match=r"wide-1\.0 could not be built: exit code 2") as caught:
        nix.build("building wide", f"path:{flake}#wide", told.append, threading.Event())

    assert max(progress.ByteSize() for progress in told) < 10_000
    assert len(str(caught.value)) < 2_000


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
