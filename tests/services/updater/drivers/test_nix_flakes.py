"""What only real flakes have: folders without git, flakes below a repository's top, registries, odd files."""

from __future__ import annotations

import http.server
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from common.errors import HostUnavailable, InvalidRequest, NotFound, WrongState
from common.nix.program import Nix
from services.updater.cycle import Cycle
from services.updater.drivers.base import Candidate
from services.updater.drivers.nix import NixUpdaterDriver
from services.updater.drivers.nix_flakes import NixFlakes
from services.updater.history import History
from services.updater.holds import Holds
from services.updater.models import Hold, Mode, Order
from updater_flakes import Source, git, nix_environment, write_flake

pytestmark = pytest.mark.host


class Place:
    """A folder for flakes, and an input."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = Source(folder / "source")
        self.flakes = NixFlakes(Nix(nix_environment(folder)), Path("/"))

    def candidate(self, flake: Path, *updates: str, **pins: str) -> Candidate:
        number = len(list(self.folder.glob("copy-*")))
        return self.flakes.candidate(
            str(flake), self.folder / f"copy-{number}", updates, pins, lambda step: None, threading.Event()
        )

    def install(self, flake: Path, *updates: str, **pins: str) -> None:
        made = self.candidate(flake, *updates, **pins)
        self.flakes.install(str(flake), made.old, made.new)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[..., None]) -> Place:
    require(binary="nix")
    require(binary="git")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    return Place(tmp_path)


def test_folder_without_git(place: Place) -> None:
    flake = place.folder / "a flake"
    write_flake(flake, {"a": place.source.url}, repository=False)
    (flake / "link").symlink_to("/nowhere")
    os.mkfifo(flake / "pipe")
    (flake / ".direnv").mkdir()
    (flake / ".direnv/big").write_text("x")
    place.install(flake)
    assert place.source.revisions[0].encode() in place.flakes.lock(str(flake))
    assert (place.folder / "copy-0/link").is_symlink()
    assert not (place.folder / "copy-0/pipe").exists()
    assert not (place.folder / "copy-0/.direnv").exists()
    assert place.flakes.check_writable(str(flake), commit=True) == ""
    assert place.flakes.commit(str(flake), "x").revision == ""


def test_flake_below_a_repositorys_top(place: Place) -> None:
    top = place.folder / "top"
    write_flake(top / "hosts/web", {"a": place.source.url}, repository=False)
    git(top, "init", "-q")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "x")
    flake = top / "hosts/web"
    made = place.candidate(flake)
    assert made.reference == f"git+file://{place.folder}/copy-0?dir=hosts/web"
    place.flakes.install(str(flake), made.old, made.new)
    place.flakes.commit(str(flake), "lock")
    assert git(top, "show", "--format=", "--name-only", "HEAD") == "hosts/web/flake.lock"


def test_flake_nix_that_git_does_not_track(place: Place) -> None:
    flake = place.folder / "flake"
    write_flake(flake, {"a": place.source.url}, repository=False)
    git(flake, "init", "-q")
    with pytest.raises(NotFound, match="not tracked by git") as caught:
        place.candidate(flake)
    assert "git -C" in caught.value.next_step


def test_untracked_files_are_no_part(place: Place) -> None:
    flake = place.folder / "flake"
    write_flake(flake, {"a": place.source.url})
    (flake / "secret").write_text("x")
    place.candidate(flake)
    assert not (place.folder / "copy-0/secret").exists()


def test_inputs_of_inputs_and_what_they_follow(place: Place) -> None:
    middle = Source(place.folder / "middle")
    text = f'{{ inputs.a.url = "{place.source.url}"; inputs.b.follows = "a"; outputs = _: {{ }}; }}\n'
    (middle.folder / "flake.nix").write_text(text)
    git(middle.folder, "commit", "-q", "-a", "-m", "inputs")
    flake = place.folder / "flake"
    write_flake(flake, {"m": middle.url, "a": place.source.url})
    text = (
        (flake / "flake.nix")
        .read_text()
        .replace("  outputs", '  inputs.m.inputs.a.follows = "a";\n  outputs')
    )
    (flake / "flake.nix").write_text(text)
    place.install(flake)
    found = {one.path: one for one in place.flakes.inputs(str(flake))}
    assert set(found) == {"a", "m", "m/a", "m/b"}
    assert (found["m/a"].follows, found["m/a"].line) == ("a", 4)
    assert found["m/b"].follows == "m/a"


def test_nested_input_can_be_pinned_and_updated(place: Place) -> None:
    middle = Source(place.folder / "middle")
    (middle.folder / "flake.nix").write_text(
        f'{{ inputs.a.url = "{place.source.url}"; outputs = _: {{ }}; }}\n'
    )
    git(middle.folder, "commit", "-q", "-a", "-m", "inputs")
    flake = place.folder / "flake"
    write_flake(flake, {"m": middle.url})
    place.install(flake)
    second = place.source.advance()
    place.install(flake, "m/a")
    assert second.encode() in place.flakes.lock(str(flake))
    place.install(flake, **{"m/a": place.source.revisions[0]})
    assert second.encode() not in place.flakes.lock(str(flake))


def test_nested_input_that_is_held_stays_when_its_parent_moves(place: Place) -> None:
    middle = Source(place.folder / "middle")
    text = f'{{ inputs.a.url = "{place.source.url}"; outputs = _: {{ }}; }}\n'
    (middle.folder / "flake.nix").write_text(text)
    git(middle.folder, "commit", "-q", "-a", "-m", "inputs")
    flake = place.folder / "flake"
    write_flake(flake, {"m": middle.url})
    driver = NixUpdaterDriver(Path("/"), place.folder / "none.sock", nix_environment(place.folder))
    holds = Holds(place.folder / "holds.json")
    cycle = Cycle(driver, History(place.folder / "updates"), holds, place.folder / "work")

    def locked() -> dict[str, str]:
        done = cycle.run(Order(str(flake), mode=Mode.LOCK), lambda step: None, threading.Event())
        assert not done.result.bad
        return {one.path: one.revision for one in place.flakes.inputs(str(flake))}

    first = locked()
    place.source.advance()
    (middle.folder / "flake.nix").write_text(text + "# changed\n")
    git(middle.folder, "commit", "-q", "-a", "-m", "more")
    holds.set(f"{flake}#m/a", Hold(hold=True))
    second = locked()
    assert second["m"] != first["m"]
    assert second["m/a"] == first["m/a"]
    holds.set(f"{flake}#m/a", Hold())
    git(middle.folder, "commit", "-q", "--allow-empty", "-m", "again")
    assert locked()["m/a"] == place.source.revisions[1]


def test_inputs_written_as_attributes(place: Place) -> None:
    flake = place.folder / "flake"
    flake.mkdir()
    (flake / "flake.nix").write_text(
        f'{{ inputs.a = {{ type = "git"; url = "file://{place.source.folder}"; }};\n'
        ' inputs.t = { url = "https://me:secret@example.org/x.tar.gz"; flake = false; };\n'
        " outputs = _: { }; }\n"
    )
    found = {one.path: one for one in place.flakes.inputs(str(flake))}
    assert found["a"].url == f"git+file://{place.source.folder}"
    assert found["t"].url == "https://********@example.org/x.tar.gz"
    assert found["t"].line == 2


def test_path_input_has_no_revisions(place: Place) -> None:
    (place.folder / "lib").mkdir()
    (place.folder / "lib/flake.nix").write_text("{ outputs = _: { }; }\n")
    flake = place.folder / "flake"
    write_flake(flake, {"lib": f"path:{place.folder}/lib"})
    place.install(flake)
    found = next(one for one in place.flakes.inputs(str(flake)))
    assert found.revision.startswith("sha256-")
    with pytest.raises(InvalidRequest, match="no revisions"):
        place.candidate(flake, lib="f" * 40)


@pytest.mark.parametrize(
    "text",
    ["{ inputs.", "{ inputs.a = 3; outputs = _: { }; }", "{ inputs = throw ''no''; outputs = _: { }; }"],
)
def test_broken_flake(place: Place, text: str) -> None:
    flake = place.folder / "flake"
    flake.mkdir()
    (flake / "flake.nix").write_text(text)
    with pytest.raises((InvalidRequest, WrongState)):
        place.flakes.inputs(str(flake))


def test_text_of_the_flake_never_runs_as_an_argument(place: Place) -> None:
    """Names with quotes, dollars and spaces stay names."""
    flake = place.folder / 'fl"a${builtins.abort "x"}ke'
    write_flake(flake, {"a": place.source.url}, repository=False)
    assert [one.path for one in place.flakes.inputs(str(flake))] == ["a"]


@pytest.mark.parametrize(
    "url", ["git+http://127.0.0.1:1/x", "http://127.0.0.1:1/x.tar.gz", "git+ssh://nobody@127.0.0.1:1/x"]
)
def test_no_network(place: Place, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=1")
    flake = place.folder / "flake"
    write_flake(flake, {"a": url})
    with pytest.raises(HostUnavailable) as caught:
        place.candidate(flake)
    assert caught.value.next_step


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder's address on the web, as long as the block runs."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Quiet."""

    handler = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_network_that_is_lost_later(place: Place) -> None:
    """Nix would take what it has and call it the newest."""
    bare = place.folder / "served.git"
    git(place.folder, "clone", "-q", "--bare", str(place.source.folder), str(bare))
    git(bare, "update-server-info")

    flake = place.folder / "flake"
    with served(place.folder) as address:
        write_flake(flake, {"a": f"git+{address}/served.git?ref=main"})
        place.install(flake)
        place.candidate(flake, "a")
    before = place.flakes.lock(str(flake))
    with pytest.raises(HostUnavailable):
        place.candidate(flake, "a")
    assert place.flakes.lock(str(flake)) == before
    # What needs nothing from there goes on.
    place.candidate(flake)


def test_tarball_that_was_fetched_a_moment_ago_is_looked_at_again(place: Place) -> None:
    def publish(version: int) -> None:
        (place.folder / "t").mkdir(exist_ok=True)
        (place.folder / "t/flake.nix").write_text(f"{{ outputs = _: {{ version = {version}; }}; }}\n")
        with tarfile.open(place.folder / "t.tar.gz", "w:gz") as tar:
            tar.add(place.folder / "t", "t")

    publish(1)
    flake = place.folder / "flake"
    with served(place.folder) as address:
        write_flake(flake, {"a": f"{address}/t.tar.gz"})
        place.install(flake)
        first = place.flakes.inputs(str(flake))[0].revision
        publish(2)
        place.install(flake, "a")
    assert place.flakes.inputs(str(flake))[0].revision != first


def newer(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Commands as for Nix 2.24; they aren't run."""
    ran: list[Any] = []
    monkeypatch.setattr(Nix, "version", lambda self: (2, 24, 1))
    monkeypatch.setattr(Nix, "long", lambda self, what, arguments, *_, **__: ran.append(list(arguments)))
    return ran


def test_command_of_newer_nix(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    flake = place.folder / "flake"
    write_flake(flake, {"a": place.source.url})
    place.install(flake)
    ran = newer(place, monkeypatch)
    place.candidate(flake, "a")
    place.candidate(flake, a="f" * 40)
    assert ran[0][:3] == ["flake", "update", "a"]
    assert ran[0][3] == "--flake"
    assert ran[1][:2] == ["flake", "lock"]
    assert ran[1][3:] == ["--override-input", "a", f"{place.source.url}&rev={'f' * 40}"]
    assert json.loads(place.flakes.lock(str(flake)))["version"] == 7
