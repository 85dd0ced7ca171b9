"""What happened to resources."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from daemons import until


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


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("events", "fiel"), 2),
    ],
)
def test_what_is_not_there(ncc: Any, arguments: tuple[str, ...], code: int) -> None:
    done = ncc.run(*arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert "\n  → " in done.stderr
