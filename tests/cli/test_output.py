"""Output for people: sizes, ages, tables; nothing that steers a terminal gets through."""

from __future__ import annotations

import pytest

from cli.output import age, print_as, print_table, printable, signed_size, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1 << 20, "1.0 MiB"),
        (3 << 30, "3.0 GiB"),
        (5 << 40, "5.0 TiB"),
        (5 << 50, "5120.0 TiB"),
        (-1536, "-1.5 KiB"),
        (-5, "-5 B"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
    assert signed_size(count) == (text if count < 0 else f"+{text}")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7_199, "119m"), (7_200, "2h"), (200_000, "2d")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_what_would_steer_a_terminal_is_shown_as_such() -> None:
    assert printable("a\x1b[31mb\x07\u202ec\nd\te") == "a\ufffd[31mb\ufffd\ufffdc\nd\te"


def test_a_table_is_as_wide_as_its_cells(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["NAME", "A"], [["long\nname", "1"], ["\x1b[2J", ""]])
    assert capsys.readouterr().out.splitlines() == ["NAME       A", "long⏎name  1", "\ufffd[2J"]


def test_the_same_value_as_json_and_as_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    import yaml

    value = {"a": [1, "ü", None], "b": {"c": "yes"}}
    print_as("json", value)
    assert json.loads(capsys.readouterr().out) == value
    print_as("yaml", value)
    assert yaml.safe_load(capsys.readouterr().out) == value
