"""The README's five minutes, command by command, against a real daemon: what it shows is what there is to see."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import daemons
from daemons import until

_REPOSITORY = Path(__file__).parent.parent
# What differs from one run to the next: times, durations, places.
_VARIABLE = re.compile(r"\b\d+(?:\.\d+)?\s?(?:ms|s)\b")


def _blocks() -> list[list[tuple[str, list[str]]]]:
    """Each block's commands with the output that is shown for them."""
    text = (_REPOSITORY / "README.md").read_text()
    section = text.split("## Five minutes")[1].split("\n## ")[0]
    blocks = []
    for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
        commands: list[tuple[str, list[str]]] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            else:
                commands[-1][1].append(line)
        blocks.append(commands)
    return blocks


def _comparable(lines: list[str]) -> list[str]:
    """The lines without times; sorted, as what becomes ready first is chance."""
    return sorted(re.sub(r" +", " ", _VARIABLE.sub("TIME", line)).strip() for line in lines)


@pytest.fixture
def tour(tmp_path: Path) -> Iterator[daemons.Daemon]:
    (tmp_path / "bad.yaml").write_text(
        "kind: File\nmetadata: {name: a b}\nspec: {path: /etc/motd, contnt: hello, mode: 0644}\n"
    )
    (tmp_path / "examples").symlink_to(_REPOSITORY / "examples")
    started = daemons.start(tmp_path)
    try:
        daemons.answering(started, ("system", "vm"))
        yield started
    finally:
        started.stop(signal.SIGTERM)


def test_the_five_minutes_are_true(tour: daemons.Daemon) -> None:
    blocks = _blocks()
    assert len(blocks) == 5
    start = [command for command, _ in blocks[0]]
    assert any(command.startswith("ncc serve --state-dir") for command in start)

    for block in blocks[1:]:
        script = ""
        shown: list[list[str]] = []
        for command, lines in block:
            if "echo hacked" in command:
                # The README waits by the clock; here the machine may be slow.
                command = command.split(";")[0]
                lines = []
            script += (
                f"{command.replace('/tmp/tour', str(tour.folder))}\ncode=$?; echo '<end>'; (exit $code)\n"
            )
            shown.append(lines)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tour.folder,
            env={**tour.env(), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        printed = [part.splitlines() for part in done.stdout.split("<end>\n")][:-1]
        for (command, _), wanted, found in zip(block, shown, printed, strict=True):
            assert "Traceback" not in "\n".join(found)
            assert _comparable(found) == _comparable(wanted), command
        if "hacked" in script:
            until(lambda: (tour.root / "etc/motd").read_text() == "This host is kept by ncc.\n")
