"""Which resource needs which."""

from __future__ import annotations

from typing import Any

import pytest


def test_the_graph(ncc: Any) -> None:
    ncc.apply(ncc.file("-a"), ncc.file("-b", depends_on=[{"kind": "File", "name": f"{ncc.name}-a"}]))

    dot = ncc.out("graph", "-o", "dot").splitlines()
    nodes = {node["name"]: node for node in ncc.json("graph", "file", f"{ncc.name}-b")["nodes"]}

    assert (dot[0], dot[-1]) == ("digraph nixcc {", "}")
    assert f'  "File/{ncc.name}-b" -> "File/{ncc.name}-a";' in dot
    assert nodes[f"{ncc.name}-b"]["depends_on"] == [{"kind": "File", "name": f"{ncc.name}-a"}]
    assert nodes[f"{ncc.name}-a"]["ready"] == "ready"
    assert f"File/{ncc.name}-b  ready  needs File/{ncc.name}-a" in ncc.out("graph")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("graph", "file", "absent"), 5),
    ],
)
def test_what_is_not_there(ncc: Any, arguments: tuple[str, ...], code: int) -> None:
    done = ncc.run(*arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert "\n  → " in done.stderr
