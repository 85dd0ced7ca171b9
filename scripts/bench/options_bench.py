"""Validation and search of options, against NixOS's own list where it lies beside the repository, else one as large."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.system.drivers import option_index, option_sources
from services.system.drivers.option_index import OptionIndex
from services.system.options.models import Option
from services.system.options.validation import validate

_COUNT, _SET = 20_362, 1_000
_VALUES: dict[str, Any] = {
    "boolean": True,
    "string": "x",
    "signed integer": 1,
    "null or string": None,
    "list of string": ["a", "b"],
    "16 bit unsigned integer; between 0 and 65535 (both inclusive)": 80,
    "path": "/etc/x",
}


def _synthetic() -> Iterator[Option]:
    kinds = list(_VALUES)
    for number in range(_COUNT):
        name = ("services", f"service{number // 40}", f"option{number % 40}")
        yield Option(name, kinds[number % len(kinds)], description=f"Option number {number} of a service.")


def _configuration(options: list[Option]) -> tuple[dict[str, Any], int]:
    """Nested options with values that fit, and how many are set."""
    whole: dict[str, Any] = {}
    count = 0
    for option in options:
        if (
            option.type not in _VALUES
            or any("<" in step or step == "*" for step in option.loc)
            or option.read_only
        ):
            continue
        here = whole
        for step in option.loc[:-1]:
            here = here.setdefault(step, {})
            if not isinstance(here, dict):
                break
        else:
            if option.loc[-1] not in here:
                here[option.loc[-1]] = _VALUES[option.type]
                count += 1
        if count >= _SET:
            break
    return whole, count


def run() -> list[dict[str, Any]]:
    """Rows for the table."""
    beside = Path(__file__).resolve().parents[3] / "shared/data/nixos-options.json"
    source = Path(os.environ.get("NIXCC_NIXOS_OPTIONS") or beside)
    options = list(option_sources.read(source)) if source.exists() else list(_synthetic())
    configuration, count = _configuration(options)
    assert count == _SET, count
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        option_index.build(Path(folder) / "x.index", options, {"source": str(source), "origin": "file"})
        built = time.perf_counter() - start
        index = OptionIndex(Path(folder) / "x.index")
        checks = []
        for _ in range(10):
            start = time.perf_counter()
            wrong = validate(index, configuration)
            checks.append(time.perf_counter() - start)
            assert not wrong, wrong[:3]
        searches = []
        for words in (
            "nginx virtual host root",
            "firewall ports",
            "service1 option",
            "enable",
            "user shell",
        ) * 4:
            start = time.perf_counter()
            index.search(words, limit=20)
            searches.append(time.perf_counter() - start)
        index.close()
    name = f"options: {_SET:,} against {len(options):,}"
    return [
        {
            "name": f"{name}, validated, p50",
            "value": 1e3 * statistics.median(checks),
            "unit": "ms",
            "peer": "ours",
        },
        {"name": f"{name}, validated, worst of 10", "value": 1e3 * max(checks), "unit": "ms", "peer": "ours"},
        {
            "name": "options: search, p50",
            "value": 1e3 * statistics.median(searches),
            "unit": "ms",
            "peer": "ours",
        },
        {"name": "options: search, worst of 20", "value": 1e3 * max(searches), "unit": "ms", "peer": "ours"},
        {"name": "options: making the index", "value": built, "unit": "s", "peer": "ours"},
    ]


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
