from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import ControlError, NotFound
from services.system.drivers import option_index, option_sources
from services.system.drivers.option_index import OptionIndex
from services.system.options.models import Option
from services.system.options.registry import MANUAL, OptionRegistry


def put_manual(root: Path, manual: Path) -> Path:
    target = root / MANUAL
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(manual.read_text())
    return target


def test_a_host_that_tells_its_options_nowhere_checks_nothing(tmp_path: Path) -> None:
    registry = OptionRegistry(tmp_path, tmp_path / "state")

    assert registry.validate({"no": {"such": "option"}}) == []
    with pytest.raises(NotFound):
        registry.index()


def test_the_manual_of_the_running_system_is_indexed_and_again_when_it_changes(
    tmp_path: Path, manual: Path
) -> None:
    target = put_manual(tmp_path, manual)
    registry = OptionRegistry(tmp_path, tmp_path / "state")
    assert [wrong.path for wrong in registry.validate({"nope": 1})] == [("nope",)]
    first = registry.index()
    assert registry.index() is first
    assert first.info().origin == "manual"

    rows = json.loads(target.read_text())
    rows["nope"] = {"loc": ["nope"], "type": "signed integer", "description": ""}
    target.write_text(json.dumps(rows))

    assert registry.validate({"nope": 1}) == []
    registry.close()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 7}', "nonsense", '[{"Name": "a"}]'])
def test_a_file_that_lists_no_options_is_told_and_not_read_again_and_again(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.json").write_text(text)
    registry = OptionRegistry(tmp_path, tmp_path / "state", str(tmp_path / "list.json"))

    for _ in range(2):
        with pytest.raises(ControlError, match=r"list\.json is no list of options"):
            registry.validate({"a": 1})


def test_off_ends_all_checking(tmp_path: Path, manual: Path) -> None:
    put_manual(tmp_path, manual)

    assert OptionRegistry(tmp_path, tmp_path / "state", "off").validate({"nope": 1}) == []


def test_a_damaged_index_is_made_anew(tmp_path: Path, manual: Path) -> None:
    put_manual(tmp_path, manual)
    OptionRegistry(tmp_path, tmp_path / "state").index()
    (tmp_path / "state/host.index").write_bytes(b"not a database at all")

    registry = OptionRegistry(tmp_path, tmp_path / "state")

    assert [wrong.path for wrong in registry.validate({"nope": 1})] == [("nope",)]


def test_both_formats_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "editor.json").write_text(
        json.dumps(
            [
                {
                    "Name": "users.users._name_.shell",
                    "Desc": "<p>Its shell.</p>",
                    "Type": "null or package",
                    "Default": "null",
                }
            ]
        )
    )
    (option,) = option_sources.read(tmp_path / "editor.json")

    assert option == Option(
        ("users", "users", "<name>", "shell"), "null or package", "null", "", "Its shell."
    )


def test_a_kill_while_indexing_leaves_no_half_index(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from services.system.drivers import option_index
from services.system.options.models import Option
def endless():
    number = 0
    while True:
        number += 1
        if number == 2_000:
            print("under way", flush=True)
        yield Option(("a", str(number)), "string")
option_index.build(Path({str(tmp_path / "x.index")!r}), endless(), {{}})
"""
    option_index.build(tmp_path / "x.index", [Option(("old",), "string")], {"source": "s", "origin": "file"})
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    assert OptionIndex(tmp_path / "x.index").root().has_children
    assert OptionIndex(tmp_path / "x.index").child(0, "old") is not None
