"""The conformance suite of profile and store: in memory and with Nix."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from common.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    ControlError,
    Forbidden,
    HostUnavailable,
    NotFound,
    WrongState,
)
from daemons import until
from services.packages.drivers.nix_profile import NixProfileDriver
from services.packages.models import Edit, Installable, RootState, Wish
from services.packages.service import PackagesService

GATED = """{
  outputs = { self }: {
    packages = builtins.listToAttrs (map (system: {
      name = system;
      value = {
        gated = derivation {
          inherit system;
          name = "gated-1.0";
          builder = "/bin/sh";
          PATH = "/usr/bin:/bin";
          args = [ "-c" "echo $$ > GATE.begun; while [ ! -e GATE ]; do sleep 0.02; done; mkdir -p $out/bin" ];
        };
        failing = derivation {
          inherit system;
          name = "failing-1.0";
          builder = "/bin/sh";
          args = [ "-c" "echo what went wrong >&2; exit 3" ];
        };
        fetched = derivation {
          inherit system;
          name = "fetched";
          builder = "/bin/sh";
          args = [ "-c" "echo changed > $out" ];
          outputHashMode = "flat";
          outputHashAlgo = "sha256";
          outputHash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        };
      };
    }) [ "x86_64-linux" "aarch64-linux" ]);
  };
}
"""


def edit(bench: Any, *attributes: str, remove: Any = (), check: Any = None) -> Any:
    add = tuple(Installable(bench.flake, attribute) for attribute in attributes)
    return bench.driver.edit(
        *(Edit(tuple(remove), add), lambda _: None, threading.Event(), check or (lambda elements: None))
    )


def gated(folder: Path, bench: Any) -> str:
    (folder / "gated").mkdir()
    (folder / "gated/flake.nix").write_text(GATED.replace("GATE", str(folder / "gate")))
    bench.flake = f"path:{folder}/gated"
    return str(bench.flake)


def test_an_edit_is_one_generation(bench: Any) -> None:
    assert bench.driver.generations() == []
    edit(bench, "hello", "libgreet")
    edit(bench, "multi", remove=bench.driver.elements())
    first, second = bench.driver.generations()
    assert [element.attribute for element in first.elements] == ["hello", "libgreet"]
    assert [element.attribute for element in second.elements] == ["multi"]
    assert (first.current, second.current) == (False, True)
    assert first.created <= second.created


def test_an_edit_that_changes_nothing_is_none(bench: Any) -> None:
    edit(bench)
    assert bench.driver.generations() == []
    edit(bench, "hello")
    edit(bench)
    assert len(bench.driver.generations()) == 1


def test_a_refused_edit_leaves_all_as_it_was(bench: Any) -> None:
    edit(bench, "hello")

    def refuse(elements: Any) -> None:
        raise Conflict("no")

    with pytest.raises(Conflict):
        edit(bench, "libgreet", remove=bench.driver.elements(), check=refuse)
    with pytest.raises(NotFound):
        edit(bench, "libgreet", "absent", remove=bench.driver.elements())
    assert bench.versions() == {"hello": "1.0"}
    assert len(bench.driver.generations()) == 1


def test_switching_generations(bench: Any) -> None:
    edit(bench, "hello")
    edit(bench, "libgreet")
    bench.driver.switch(1)
    assert bench.versions() == {"hello": "1.0"}
    assert [g.number for g in bench.driver.generations() if g.current] == [1]
    with pytest.raises(NotFound):
        bench.driver.switch(7)


def test_deleting_generations(bench: Any) -> None:
    for attribute in ("hello", "libgreet", "multi"):
        edit(bench, attribute)
    bench.driver.delete_generations([1])
    assert [g.number for g in bench.driver.generations()] == [2, 3]
    bench.driver.delete_generations([])
    with pytest.raises(WrongState):
        bench.driver.delete_generations([3])
    assert [g.number for g in bench.driver.generations()] == [2, 3]


def test_locks(bench: Any) -> None:
    first = bench.driver.lock("") if bench.repository else bench.driver.lock(bench.flake)
    bench.publish(hello=None)
    second = bench.driver.lock(bench.flake)
    assert first.locked_url != second.locked_url
    assert first.revision != second.revision
    assert bench.driver.version_of(Installable(first.locked_url, "hello")) == "1.0"
    with pytest.raises(NotFound):
        bench.driver.version_of(Installable(second.locked_url, "hello"))


def test_closures(bench: Any) -> None:
    edit(bench, "hello")
    hello = bench.driver.elements()[0].store_paths[0]
    closure = bench.store.closure([hello])
    library = next(path for path in closure if "libgreet" in path)
    assert set(closure) == {hello, library}
    assert closure[hello].references == (library,)
    assert all(row.size > 0 for row in closure.values())
    assert [row.path for row in bench.store.referrers(library, indirect=False)] == [hello]
    indirect = {row.path for row in bench.store.referrers(library, indirect=True)}
    assert hello in indirect
    assert bench.store.resolve(bench.driver.path()) in indirect
    assert bench.store.closure([]) == {}
    with pytest.raises(NotFound):
        bench.store.resolve("/etc/passwd")


def test_garbage(bench: Any) -> None:
    edit(bench, "hello")
    edit(bench, "multi", remove=bench.driver.elements())
    hello = bench.driver.generations()[0].elements[0].store_paths[0]
    assert hello not in bench.store.dead(), "the older generation holds it"
    bench.driver.delete_generations([1])
    dead = bench.store.dead()
    assert dead[hello] > 0
    kept = [root for root in bench.store.roots() if root.state is RootState.KEPT]
    assert [root.path for root in kept] == [bench.store.resolve(bench.driver.path())]
    gone = bench.store.collect(0, lambda _: None, threading.Event())
    assert gone == dead
    assert bench.store.dead() == {}
    assert bench.versions() == {"multi": "1.4"}


def test_a_dry_run_tells_what_really_goes(bench: Any) -> None:
    for attribute in ("hello", "libgreet", "multi"):
        edit(bench, attribute, remove=bench.driver.elements())
    service = PackagesService(bench.installation, bench.store, None, bench.indexes, bench.flake)  # type: ignore[arg-type]
    arguments: Any = (0, 0, lambda _: None, threading.Event())
    told = service.collect(True, *arguments)
    assert told.generations == (1,)
    assert [g.number for g in bench.driver.generations()] == [1, 2, 3]
    went = service.collect(False, *arguments)
    # Derivations go with what they made: the dry run doesn't know of those.
    assert set(told.paths) <= set(went.paths)
    assert {path for path in went.paths if not path.endswith(".drv")} <= set(told.paths)
    assert any(path.endswith("hello-1.0") for path in told.paths)
    assert [g.number for g in bench.driver.generations()] == [2, 3]


def test_verify(bench: Any) -> None:
    edit(bench, "hello")
    quiet: Any = {"tell": lambda _: None, "cancel": threading.Event()}
    assert bench.store.verify(repair=False, **quiet).damaged == ()
    hello = bench.driver.elements()[0].store_paths[0]
    if bench.repository is None:
        bench.driver.damaged.add(hello)
    else:
        program = Path(hello, "bin/hello")
        program.chmod(0o755)
        program.write_text("something else")
    found = bench.store.verify(repair=False, **quiet)
    assert found.damaged == (hello,)
    assert found.checked > 1
    assert bench.store.verify(repair=True, **quiet).repaired == (hello,)
    assert bench.store.verify(repair=False, **quiet).damaged == ()


@pytest.mark.host
def test_running_booted_and_previous_systems_are_never_collected(nix: Any) -> None:
    """Their links lie where Nix itself does not look."""
    edit(nix, "hello", "libgreet", "multi")
    systems = [path for element in nix.driver.elements() for path in element.store_paths]
    profiles = nix.root / "nix/var/nix/profiles"
    (nix.root / "run").mkdir()
    (nix.root / "run/current-system").symlink_to(systems[0])
    (nix.root / "run/booted-system").symlink_to(systems[1])
    (profiles / "system-1-link").symlink_to(systems[2])
    (profiles / "system-2-link").symlink_to(systems[0])
    (profiles / "system").symlink_to("system-2-link")
    edit(nix, remove=nix.driver.elements())
    nix.driver.delete_generations([1])

    nix.store.collect(0, lambda _: None, threading.Event())

    assert all(os.path.exists(path) for path in systems)
    kept = {root.path for root in nix.store.roots() if root.state is RootState.KEPT}
    assert kept >= set(systems)
    (profiles / "system-1-link").unlink()
    assert set(nix.store.collect(0, lambda _: None, threading.Event())) >= {systems[2]}


@pytest.mark.host
def test_killed_while_it_builds(nix: Any, tmp_path: Path) -> None:
    edit(nix, "hello")
    flake = gated(tmp_path, nix)
    child = f"""
import threading
from pathlib import Path
from services.packages.drivers.nix_profile import NixProfileDriver
from services.packages.models import Edit, Installable
driver = NixProfileDriver(Path({str(Path(nix.driver.path()).parent)!r}), {flake!r})
edit = Edit(tuple(driver.elements()), (Installable({flake!r}, "gated"),))
driver.edit(edit, lambda _: None, threading.Event(), lambda elements: None)
"""
    process = subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
    until(lambda: (tmp_path / "gate.begun").exists(), 30)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert nix.versions() == {"hello": "1.0"}
    assert len(nix.driver.generations()) == 1
    (tmp_path / "gate").touch()  # lets what it left behind end
    edit(nix, "gated")
    assert set(nix.versions()) == {"hello", "gated"}
    folder = Path(nix.driver.path()).parent
    assert [path.name for path in folder.iterdir() if path.name.startswith(".staging")] == []


@pytest.mark.host
def test_a_long_build_holds_up_nobody(nix: Any, tmp_path: Path) -> None:
    flake = gated(tmp_path, nix)
    ended: list[Any] = []
    cancel = threading.Event()

    def install(name: str, wish: Wish) -> None:
        try:
            ended.append(nix.installation.make_so(name, wish, lambda _: None, cancel))
        except ControlError as error:
            ended.append(error)

    slow = threading.Thread(target=install, args=("gated", Wish("gated", flake)))
    slow.start()
    until(lambda: (tmp_path / "gate.begun").exists(), 30)
    install("hello", Wish("hello", nix.repository.url))
    assert ended == ["installed 1.0"]

    others = [threading.Thread(target=install, args=(f"g{n}", Wish("gated", flake))) for n in range(6)]
    for thread in others:
        thread.start()
    until(lambda: len(ended) == 4, 30)
    assert {type(error) for error in ended[1:]} == {HostUnavailable}, "four at once leave room for the rest"
    assert not cancel.is_set()
    (tmp_path / "gate").touch()
    for thread in (slow, *others):
        thread.join()
    assert ended.count("installed 1.0") == 2
    assert {type(error) for error in ended[4:]} - {str} == {AlreadyExists}


@pytest.mark.host
def test_cancelled_while_it_builds(nix: Any, tmp_path: Path) -> None:
    edit(nix, "hello")
    flake = gated(tmp_path, nix)
    cancel = threading.Event()

    def tell(progress: Any) -> None:
        if (tmp_path / "gate.begun").exists():
            cancel.set()

    watcher = threading.Thread(target=lambda: until((tmp_path / "gate.begun").exists, 30) and cancel.set())
    watcher.start()
    with pytest.raises(Cancelled):
        nix.driver.edit(Edit(add=(Installable(flake, "gated"),)), tell, cancel, lambda elements: None)
    watcher.join()
    assert nix.versions() == {"hello": "1.0"}


@pytest.mark.host
@pytest.mark.parametrize(
    ("attribute", "told"),
    [("failing", "what went wrong"), ("fetched", "sha256-AAAA.* was expected, sha256-.* came")],
)
def test_builds_that_fail(nix: Any, tmp_path: Path, attribute: str, told: str) -> None:
    gated(tmp_path, nix)
    with pytest.raises(WrongState, match=told) as caught:
        edit(nix, attribute)
    assert caught.value.next_step
    assert nix.driver.elements() == ()


@pytest.mark.host
def test_a_manifest_half_written(nix: Any) -> None:
    edit(nix, "hello")
    edit(nix, "libgreet")
    manifest = Path(nix.driver.path(), "manifest.json")
    manifest.chmod(0o644)
    text = manifest.read_text()
    manifest.write_text(text[: len(text) // 2])

    with pytest.raises(WrongState, match="is damaged"):
        nix.driver.elements()
    with pytest.raises(WrongState):
        edit(nix, "multi")
    nix.driver.switch(1)
    assert nix.versions() == {"hello": "1.0"}
    edit(nix, "multi")
    assert set(nix.versions()) == {"hello", "multi"}


def test_a_folder_that_can_not_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    driver = NixProfileDriver(tmp_path / "file/nixcc", "nixpkgs")
    driver.watch(lambda keys: None)
    assert driver.elements() == ()
    with pytest.raises(Forbidden, match="can't be changed") as caught:
        driver.switch(1)
    assert "NCC_PACKAGES_PROFILE" in caught.value.next_step
    driver.close()


@pytest.mark.host
def test_somebody_else_changes_it_meanwhile(nix: Any) -> None:
    edit(nix, "hello")
    program = ["nix", "profile", "install", "--profile", nix.driver.path(), f"{nix.flake}#libgreet"]

    def meddle(elements: Any) -> None:
        subprocess.run(program, check=True, capture_output=True)

    with pytest.raises(Conflict):
        edit(nix, "multi", check=meddle)
    assert set(nix.versions()) == {"hello", "libgreet"}


@pytest.mark.host
def test_a_flake_without_a_lock_file_gets_none(nix: Any, tmp_path: Path) -> None:
    folder = tmp_path / "unlocked"
    folder.mkdir()
    text = f"""{{
      inputs.other.url = "{nix.flake}";
      outputs = {{ self, other }}: {{ packages = other.packages; }};
    }}"""
    (folder / "flake.nix").write_text(text)
    nix.flake = f"path:{folder}"
    edit(nix, "hello")
    assert nix.driver.version_of(Installable(nix.flake, "hello")) == "1.0"
    with pytest.raises(WrongState, match="lock file") as caught:
        nix.indexes.refresh(
            *(nix.flake, ""), force=False, now=0, tell=lambda _: None, cancel=threading.Event()
        )
    assert "nix flake lock" in caught.value.next_step
    assert [path.name for path in folder.iterdir()] == ["flake.nix"]


def test_sizes_of_every_nix() -> None:
    from services.packages.drivers.nix_store import _objects

    path = "/nix/store/00000000000000000000000000000000-a"
    row = {"narSize": 7, "references": [path]}
    bare = {"narSize": 7, "references": [path.rpartition("/")[2]]}
    for found in (
        [{"path": path, **row}, {"path": "/gone", "valid": False}, None],
        {path: row, "/gone": None},
        {"version": 2, "storeDir": "/nix/store", "info": {path.rpartition("/")[2]: bare, "gone": None}},
    ):
        assert [(o.path, o.size, o.references) for o in _objects(found)] == [(path, 7, (path,))]


@pytest.mark.host
def test_equal_files_become_one(nix: Any) -> None:
    edit(nix, "hello")
    files, size = nix.store.optimise(lambda _: None, threading.Event())
    assert files >= 0
    assert size >= 0
    assert nix.store.verify(repair=False, tell=lambda _: None, cancel=threading.Event()).damaged == ()
