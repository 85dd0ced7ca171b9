"""The way in: commands found, mistyped, without a reader, without room."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cli.main import COMMANDS
from daemons import NCC, Ncc


def test_help_names_every_command(tmp_path: Path) -> None:
    ncc = Ncc(tmp_path)
    done = ncc.run("help")
    assert (done.returncode, done.stderr) == (0, "")
    assert [name for name in COMMANDS if f"  {name} " not in done.stdout] == []
    assert ncc.run("--help").stdout == done.stdout
    assert ncc.run().returncode == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_without_a_daemon(tmp_path: Path, name: str) -> None:
    done = Ncc(tmp_path).run(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: ncc {name}")


def test_a_mistyped_command(tmp_path: Path) -> None:
    done = Ncc(tmp_path).run("aply")
    assert (done.returncode, done.stdout) == (2, "")
    assert "apply" in done.stderr


def test_a_reader_that_has_gone(tmp_path: Path) -> None:
    command = [NCC, "explain", "VirtualMachine"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=Ncc(tmp_path).env()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode in (0, 141), errors) == (True, b"")


def test_an_output_without_room(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [NCC, "help"], stdout=full, stderr=subprocess.PIPE, env=Ncc(tmp_path).env(), check=False
        )
    assert done.returncode == 1
    assert b"can't be used" in done.stderr
