"""Kind Generation end to end: a flake that Nix builds, what other kinds add to it, and the loop that switches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons import Daemon, daemon, file, until
from script_systems import ScriptHost

pytestmark = pytest.mark.host


@pytest.fixture
def host(tmp_path: Path, require: Any) -> ScriptHost:
    require(binary="nix")
    made = ScriptHost(tmp_path)
    made.install(made.system("a"))
    return made


@pytest.fixture
def ncc(host: ScriptHost) -> Iterator[Daemon]:
    with daemon(host.folder, env=host.environment) as started:
        yield started


def declared(flake: Path, **spec: Any) -> dict[str, Any]:
    return {
        "kind": "Generation",
        "metadata": {"name": "system"},
        "spec": {"flake": str(flake), "attribute": "web", "deadline": "30s", **spec},
    }


def converged(ncc: Daemon, document: dict[str, Any]) -> bool:
    return ncc.run("diff", "-f", "-", stdin=json.dumps(document)).returncode == 0


def test_a_flake_is_built_switched_to_and_then_in_sync(host: ScriptHost, ncc: Daemon) -> None:
    document = declared(host.flake())

    ncc.apply(document)

    assert (Path(host.running) / "nixos-version").read_text() == "26.05.one\n"
    assert host.running == host.boot_default == host.driver.default()
    assert converged(ncc, document)
    actions = host.actions
    ncc.out("reconcile")
    assert host.actions == actions, "nothing to do"


def test_what_other_kinds_declare_becomes_part_of_it(host: ScriptHost, ncc: Daemon) -> None:
    document = declared(host.flake())
    ncc.apply(document)

    ncc.apply(file("motd", "/etc/motd", "welcome\n"))

    def held() -> bool:
        text = Path(host.running, "etc/nixcc/desired.json").read_text()
        return [row["name"] for row in json.loads(text)["resources"]] == ["motd"]

    until(held, 40)
    until(lambda: converged(ncc, document))
    text = json.loads(Path(host.boot_default, "etc/nixcc/desired.json").read_text())
    assert text["options"]["environment"]["etc"]["motd"]["text"] == "welcome\n"


def test_a_flake_that_moves_forward_is_switched_to_at_the_next_look(host: ScriptHost, ncc: Daemon) -> None:
    ncc.apply(declared(host.flake()))
    host.flake(content="two")

    assert "flake" in ncc.run("diff", "-f", "-", stdin=json.dumps(declared(host.flake(content="two")))).stdout
    ncc.out("reconcile")

    until(lambda: (Path(host.running) / "nixos-version").read_text() == "26.05.two\n", 40)


def test_boot_waits_for_the_restart(host: ScriptHost, ncc: Daemon) -> None:
    before = host.running
    document = declared(host.flake(), mode="BOOT")

    ncc.apply(document)

    assert host.running == before
    assert host.boot_default != before
    assert converged(ncc, document)
    assert "takes effect later" in ncc.out("describe", "generation", "system")


def test_a_flake_without_our_input_is_told(host: ScriptHost, ncc: Daemon) -> None:
    before = host.running
    ncc.apply(file("motd", "/etc/motd", "welcome\n"))
    flake = host.flake()
    text = (flake / "flake.nix").read_text()
    (flake / "flake.nix").write_text(
        text.replace("cp ${nixcc-desired}/desired.json $out/etc/nixcc/desired.json", "")
    )

    ncc.apply(declared(flake), wait=False)

    until(lambda: ncc.ready("Generation", "system")[1] == "WrongState", 40)
    assert "lacks File motd" in ncc.out("describe", "generation", "system")
    assert host.running == before


@pytest.mark.parametrize(
    ("break_it", "reason", "said"),
    [
        ("syntax", "InvalidRequest", "flake.nix:"),
        ("attribute", "NotFound", "nowhere"),
        ("builder", "", "the builder does not like it"),
        ("missing", "", ""),
    ],
)
def test_bad_flakes_change_nothing(
    host: ScriptHost, ncc: Daemon, break_it: str, reason: str, said: str
) -> None:
    before, flake = host.running, host.flake(content="fails" if break_it == "builder" else "one")
    document = declared(flake)
    if break_it == "syntax":
        (flake / "flake.nix").write_text("{ outputs = { self }: { x = ; }; }\n")
    elif break_it == "attribute":
        document["spec"]["attribute"] = "nowhere"
    elif break_it == "missing":
        document["spec"]["flake"] = str(host.folder / "nowhere")

    ncc.apply(document, wait=False)

    until(lambda: ncc.ready("Generation", "system")[0] == "False" and _settled(ncc), 40)
    if reason:
        assert ncc.ready("Generation", "system")[1] == reason
    assert said in ncc.out("describe", "generation", "system")
    assert (host.running, host.boot_default, host.actions) == (before, before, [])
    assert not (flake / "flake.lock").exists()


def test_retention_is_kept_without_switching(host: ScriptHost, ncc: Daemon) -> None:
    for name in ("b", "c", "d", "e"):
        host.install(host.system(name))
    document = declared(host.flake())
    ncc.apply(document)
    assert host.driver.numbers() == [1, 2, 3, 4, 5, 6]
    actions = host.actions

    document["spec"]["retention"] = {"keep": 2}
    ncc.apply(document)

    # The booted generation stays, too.
    assert host.driver.numbers() == [5, 6]
    assert host.actions == actions
    assert converged(ncc, document)


def test_deleting_it_leaves_the_host_as_it_is(host: ScriptHost, ncc: Daemon) -> None:
    ncc.apply(declared(host.flake()))
    running, actions = host.running, host.actions

    ncc.out("delete", "generation", "system", "--wait")

    assert (host.running, host.actions) == (running, actions)


def _settled(ncc: Daemon) -> bool:
    return ncc.ready("Generation", "system")[1] not in ("Applying", "Drifted")
