"""Everything about one resource."""

from __future__ import annotations

from typing import Any

import yaml


def test_describe_shows_spec_conditions_and_events(ncc: Any) -> None:
    ncc.apply(ncc.file())

    text = ncc.out("describe", "file", ncc.name)

    assert yaml.safe_load(text.split("\nconditions")[0])["spec"]["content"] == "hello\n"
    assert "  Ready: True  " in text
    assert "Created" in text.split("\nevents")[1]


def test_describe_what_is_not_there(ncc: Any) -> None:
    done = ncc.run("describe", "file", "absent")

    assert done.returncode == 5
    assert "\n  → " in done.stderr
