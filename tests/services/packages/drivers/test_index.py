"""The index: search, ranking, versions, hostile words, and what dies on the way."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import Cancelled, HostUnavailable, InvalidRequest, NotFound, WrongState
from services.packages.drivers.index import PackageIndexes
from services.packages.drivers.index_build import packages
from services.packages.drivers.nix_catalog import NixCatalog

FLAKE = "nixpkgs"


def row(pname: str, version: str = "1.0", description: str = "", **meta: Any) -> dict[str, Any]:
    return {
        "meta": {"description": description, **meta},
        "name": f"{pname}-{version}",
        "pname": pname,
        "system": "x86_64-linux",
        "version": version,
    }


PACKAGES = {
    "jq": row("jq", "1.7.1", "Command-line JSON processor", license={"spdxId": "MIT", "free": True}),
    "jql": row("jql", "2.0", "JSON query language"),
    "gojq": row("gojq", "0.12", "Pure Go implementation of jq"),
    "python3Packages.jq": row("jq", "1.8", "Bindings for jq"),
    "yq": row("yq", "3.4", "Wrapper around jq for YAML"),
    "steam": row("steam", "1.0", "Games", license=[{"fullName": "Proprietary", "free": False}], unfree=True),
    "old": row("old", "0.1", "Does not build", broken=True),
    "leaky": row("leaky", "0.1", "Has holes", insecure=True),
    "arm-only": row("arm-only", description="Only there", platforms=["aarch64-linux"]),
    "naïve": row("naïve", description="Größe und café"),
    "numbered": row("numbered", description="C++ and 100% odd_words"),
}


def listing(folder: Path, found: Mapping[str, Any] = PACKAGES, name: str = "packages.json") -> str:
    path = folder / name
    text = json.dumps({"version": 2, "packages": found}).encode()
    opener: Any = {".gz": lambda data: gzip.compress(data, mtime=0), ".xz": lzma.compress}.get(
        path.suffix, lambda data: data
    )
    path.write_bytes(opener(text))
    return str(path)


def refresh(indexes: PackageIndexes, source: str, *, flake: str = FLAKE, cancel: Any = None) -> Any:
    return indexes.refresh(
        flake, source, force=False, now=0, tell=lambda _: None, cancel=cancel or threading.Event()
    )


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[PackageIndexes]:
    made = PackageIndexes(tmp_path / "index", NixCatalog("there is no Nix here"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndexes]:
    folder = tmp_path_factory.mktemp("full")
    made = PackageIndexes(folder / "index", NixCatalog("there is no Nix here"))
    refresh(made, listing(folder))
    yield made
    made.close()


def names(indexes: PackageIndexes, query: str, **filters: Any) -> list[str]:
    return [meta.attribute for meta in indexes.search(FLAKE, query, limit=20, **filters)]


def test_the_best_match_comes_first(full: PackageIndexes) -> None:
    assert names(full, "jq")[:3] == ["jq", "python3Packages.jq", "jql"]
    assert set(names(full, "jq")) == {"jq", "python3Packages.jq", "jql", "gojq", "yq"}
    assert names(full, "JSON proc") == ["jq"]
    assert names(full, "cafe") == ["naïve"], "without accents, too"
    assert names(full, "NAÏVE") == ["naïve"]
    assert names(full, "python3Packages.jq") == ["python3Packages.jq"]
    assert names(full, "nothing at all") == []


def test_filters(full: PackageIndexes) -> None:
    assert names(full, "steam", usable_only=True) == []
    assert names(full, "old", usable_only=True) == []
    assert names(full, "leaky", usable_only=True) == []
    assert names(full, "arm") == ["arm-only"]
    assert names(full, "arm", platform="x86_64-linux") == []
    assert names(full, "arm", platform="aarch64-linux") == ["arm-only"]
    assert names(full, "jql", platform="aarch64-linux") == ["jql"], "no platforms: all"


def test_one_package(full: PackageIndexes) -> None:
    steam = full.package(FLAKE, "steam")
    assert (steam.unfree, steam.licenses) == (True, ("Proprietary",))
    assert full.package(FLAKE, "JQL").attribute == "jql"
    with pytest.raises(NotFound, match="did you mean"):
        full.package(FLAKE, "num")
    with pytest.raises(NotFound, match="no package 'absent'"):
        full.package(FLAKE, "absent")


@pytest.mark.parametrize(
    "query",
    [
        '"',
        '"*^:()',
        "a OR b",
        "NEAR(jq yq)",
        "-jq",
        "jq*",
        "{attr pname}: jq",
        "attr:jq",
        "'; DROP TABLE packages",
        "\0",
    ],
)
def test_hostile_words(full: PackageIndexes, query: str) -> None:
    names(full, query)
    assert names(full, "jq")[0] == "jq"


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(max_size=60))
def test_any_words(full: PackageIndexes, query: str) -> None:
    names(full, query)


@pytest.mark.parametrize("name", ["p.json", "p.json.gz", "p.json.xz"])
def test_prebuilt_listings(indexes: PackageIndexes, tmp_path: Path, name: str) -> None:
    info, changed = refresh(indexes, listing(tmp_path, name=name))
    assert (info.packages, changed) == (len(PACKAGES), True)
    assert refresh(indexes, listing(tmp_path, name=name))[1] is False, "the same listing is not read again"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": {"name": "a-1"}', '{"a": 7}', "{}", "\x1f\x8b"])
def test_what_is_no_listing_leaves_the_old_index(indexes: PackageIndexes, tmp_path: Path, text: str) -> None:
    refresh(indexes, listing(tmp_path))
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    with pytest.raises(InvalidRequest, match="can't be indexed") as caught:
        refresh(indexes, str(bad))
    assert "Traceback" not in caught.value.message
    assert names(indexes, "jql") == ["jql"]
    assert len(list((tmp_path / "index").iterdir())) == 1


def test_a_value_that_nix_left_out(tmp_path: Path) -> None:
    text = '{"a": {"name": "a-1", "meta": {"description": \n, "x": }}, "b": {"name": "b-2", "meta": {}}}'
    assert [key for key, _ in packages(text)] == ["a", "b"]


def test_a_package_that_is_called_packages() -> None:
    text = json.dumps({"packages": row("packages"), "version": row("version")})
    assert [key for key, _ in packages(text)] == ["packages", "version"]


def test_versions_are_remembered_over_revisions(indexes: PackageIndexes, tmp_path: Path) -> None:
    refresh(indexes, listing(tmp_path))
    refresh(indexes, listing(tmp_path, {"jq": row("jq", "1.8")}))
    refresh(indexes, listing(tmp_path, {"jq": row("jq", "1.8"), "new": row("new")}))
    assert [seen.version for seen in indexes.versions(FLAKE, "jq")] == ["1.8", "1.7.1"]
    assert indexes.versions(FLAKE, "jq")[0].revision == indexes.info(FLAKE).revision
    assert [seen.version for seen in indexes.versions(FLAKE, "yq")] == ["3.4"], "gone, but it was there"
    assert names(indexes, "yq") == []
    assert indexes.versions("elsewhere", "jq") == []


def test_no_index_yet(indexes: PackageIndexes) -> None:
    with pytest.raises(NotFound, match="no index") as caught:
        names(indexes, "jq")
    assert "ncc package refresh" in caught.value.next_step
    assert indexes.infos() == []


@pytest.mark.parametrize("damage", ["cut", "zeros", "text", "empty"])
def test_a_damaged_index_is_told_and_made_anew(indexes: PackageIndexes, tmp_path: Path, damage: str) -> None:
    refresh(indexes, listing(tmp_path))
    path = next((tmp_path / "index").glob("*.index"))
    content = path.read_bytes()
    new = {"cut": content[:5000], "zeros": bytes(len(content)), "text": b"hello" * 999, "empty": b""}[damage]
    path.unlink()
    path.write_bytes(new)
    with pytest.raises(WrongState, match="is damaged") as caught:
        names(indexes, "jq")
        indexes.package(FLAKE, "jq")
    assert "refresh --force" in caught.value.next_step
    assert indexes.infos() == []

    refresh(indexes, listing(tmp_path))
    assert names(indexes, "jql") == ["jql"]


def test_one_that_was_killed_leaves_the_old_index(indexes: PackageIndexes, tmp_path: Path) -> None:
    refresh(indexes, listing(tmp_path))
    left = tmp_path / "index/half.new"
    left.write_bytes(b"half an index")
    (tmp_path / "index/listing-x").mkdir()
    assert names(indexes, "jql") == ["jql"]
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        refresh(indexes, listing(tmp_path, {"jq": row("jq", "1.8")}), cancel=cancel)
    assert indexes.package(FLAKE, "jq").version == "1.7.1"
    refresh(indexes, listing(tmp_path, {"jq": row("jq", "1.8")}))
    assert [path.suffix for path in (tmp_path / "index").iterdir()] == [".index"]


def test_searching_while_it_is_replaced(indexes: PackageIndexes, tmp_path: Path) -> None:
    refresh(indexes, listing(tmp_path))
    over = threading.Event()
    wrong: list[Any] = []

    def search() -> None:
        while not over.is_set():
            try:
                found = names(indexes, "jql")
            except Exception as error:
                wrong.append(error)
                return
            if found != ["jql"]:
                wrong.append(found)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(3):
        refresh(indexes, listing(tmp_path, {**PACKAGES, "extra": row("extra", str(number))}))
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.host
def test_a_real_flake(nix: Any) -> None:
    info, changed = nix.refresh()
    assert changed
    assert info.revision
    assert nix.refresh()[1] is False
    meta = nix.indexes.package(nix.flake, "hello")
    assert (meta.version, meta.licenses, meta.outputs) == ("1.0", ("MIT",), ("out",))
    assert nix.indexes.package(nix.flake, "unfree").unfree
    nix.publish(hello="1.1")
    assert nix.refresh()[1] is True
    assert [seen.version for seen in nix.indexes.versions(nix.flake, "hello")] == ["1.1", "1.0"]
    assert nix.refresh(force=True)[1] is True


@pytest.mark.host
@pytest.mark.parametrize(
    ("flake", "error"),
    [
        ("/nowhere/at/all", NotFound),
        ("https://127.0.0.1:1/flake.tar.gz", HostUnavailable),
        ("..", NotFound),
        ("$(id)", NotFound),
    ],
)
def test_flakes_that_can_not_be_read(nix: Any, flake: str, error: type, monkeypatch: Any) -> None:
    monkeypatch.chdir(os.environ["HOME"])
    with pytest.raises(error):
        refresh(nix.indexes, "", flake=flake)


@pytest.mark.host
def test_a_flake_whose_packages_fail(nix: Any) -> None:
    path = nix.repository.folder / "flake.nix"
    path.write_text(path.read_text().replace("make system) data", "make system) data // { bad = 1 + {}; }"))
    nix.publish()
    with pytest.raises(InvalidRequest, match=r"flake\.nix:\d+"):
        nix.refresh()
