"""Commands that speak to the loop: reconcile, events, suspend, resume, graph, operation."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from daemons import until


def test_a_pass_says_what_it_did(ncc: Any) -> None:
    ncc.apply(ncc.file())

    done = ncc.json("reconcile", "file", ncc.name, "--wait")

    assert list(done) == ["resources", "changed", "failed", "seconds"]
    assert (done["resources"], done["changed"], done["failed"]) == (1, 0, 0)
    assert 0 < done["seconds"] < 60
    text = ncc.out("reconcile", "file", "-l", f"test={ncc.name}", "--wait")
    assert text.startswith("1 resources looked at in ")


def test_a_pass_in_the_background_is_an_operation(ncc: Any) -> None:
    ncc.apply(ncc.file())

    name = ncc.out("reconcile", "file", ncc.name).split()[0]

    assert ncc.out("operation", "wait", name).split()[:2] == [name, "done"]
    assert ncc.json("operation", "get", name)["state"] == "done"
    assert name in [row["name"] for row in ncc.json("operation", "list")["operations"]]
    assert name in ncc.out("operation", "list")
    ncc.out("operation", "delete", name)
    gone = ncc.run("operation", "get", name)
    assert gone.returncode == 5
    assert "\n  → " in gone.stderr


def test_a_pass_with_failures_ends_with_1(ncc: Any) -> None:
    (ncc.daemon.root / ncc.name).write_text("a file where a folder is needed")
    ncc.run("apply", "-f", ncc.write(ncc.file()))

    done = ncc.run("reconcile", "file", ncc.name, "--wait")
    ncc.out("delete", "file", ncc.name, "--orphan", "--wait")

    assert done.returncode == 1
    assert "1 failed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("reconcile", "fiel", "--wait"), 2),
        (("reconcile", "file", "absent", "--wait"), 5),
        (("suspend", "file", "absent"), 5),
        (("resume", "fiel"), 2),
        (("graph", "file", "absent"), 5),
        (("events", "fiel"), 2),
        (("operation", "get", "absent"), 5),
        (("operation", "cancel", "absent"), 5),
        (("operation", "wait"), 5),
    ],
)
def test_what_is_not_there(ncc: Any, arguments: tuple[str, ...], code: int) -> None:
    done = ncc.run(*arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert "\n  → " in done.stderr


def test_what_is_suspended_is_left_alone_until_resumed(ncc: Any) -> None:
    ncc.apply(ncc.file())
    path = ncc.folder / "f"

    assert ncc.out("suspend", "file", ncc.name, "--for", "1h") == f"File/{ncc.name} suspended\n"
    path.write_text("hacked\n")
    until(
        lambda: (
            ncc.daemon.ready("File", ncc.name) == ("Unknown", "Suspended") or "Suspended" in str(ncc.item())
        )
    )
    assert ncc.json("reconcile", "file", ncc.name, "--wait")["changed"] == 0
    assert path.read_text() == "hacked\n"

    assert ncc.out("resume", "file", "-l", f"test={ncc.name}") == f"File/{ncc.name} resumed\n"
    until(lambda: path.read_text() == "hello\n")


def test_a_suspension_ends_by_itself(ncc: Any) -> None:
    ncc.apply(ncc.file())

    ncc.out("suspend", "file", ncc.name, "--for", "600ms")
    (ncc.folder / "f").write_text("hacked\n")

    until(lambda: (ncc.folder / "f").read_text() == "hello\n")


def test_a_wrong_duration(ncc: Any) -> None:
    for text in ("-1s", "soon", "1x"):
        done = ncc.run("suspend", "file", ncc.name, f"--for={text}")
        assert done.returncode == 2
        assert text in done.stderr


def test_events_of_a_resource(ncc: Any) -> None:
    ncc.apply(ncc.file())
    (ncc.folder / "f").write_text("hacked\n")
    until(lambda: (ncc.folder / "f").read_text() == "hello\n")

    def events() -> Any:
        return ncc.json("events", "file", ncc.name)["items"]

    until(lambda: [event["reason"] for event in events()] == ["Created", "Healed"])
    assert {"kind", "name", "type", "reason", "message", "count", "first_time", "last_time"} <= set(
        events()[0]
    )
    assert [event["reason"] for event in ncc.json("events", "file", ncc.name, "-n", "1")["items"]] == [
        "Healed"
    ]
    assert yaml.safe_load(ncc.out("events", "file", ncc.name, "-o", "yaml"))["items"] == events()
    assert "Healed" in ncc.out("events", "-l", f"test={ncc.name}")
    assert ncc.run("events", "-n", "-1").returncode == 2


def test_the_graph(ncc: Any) -> None:
    ncc.apply(ncc.file("-a"), ncc.file("-b", depends_on=[{"kind": "File", "name": f"{ncc.name}-a"}]))

    dot = ncc.out("graph", "-o", "dot").splitlines()
    nodes = {node["name"]: node for node in ncc.json("graph", "file", f"{ncc.name}-b")["nodes"]}

    assert (dot[0], dot[-1]) == ("digraph nixcc {", "}")
    assert f'  "File/{ncc.name}-b" -> "File/{ncc.name}-a";' in dot
    assert nodes[f"{ncc.name}-b"]["depends_on"] == [{"kind": "File", "name": f"{ncc.name}-a"}]
    assert nodes[f"{ncc.name}-a"]["ready"] == "ready"
    assert f"File/{ncc.name}-b  ready  needs File/{ncc.name}-a" in ncc.out("graph")
