"""The completion scripts; bash's in a real bash."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

import daemons

_ASK = r"""
export PATH="$1:$PATH"; shift
source <(ncc completion bash)
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_ncc
printf '%s\n' "${COMPREPLY[@]}"
"""


def _completed(ncc: Any, *words: str, env: dict[str, str] | None = None) -> list[str]:
    done = subprocess.run(
        ["bash", "-c", _ASK, "bash", daemons.NCC.removesuffix("/ncc"), *words],
        env=ncc.daemon.env(env),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_kinds_and_names(ncc: Any) -> None:
    ncc.apply(ncc.file(), ncc.vm())

    assert _completed(ncc, "ncc", "de") == ["describe", "delete"]
    assert _completed(ncc, "ncc", "get", "VirtualM") == ["VirtualMachine"]
    assert _completed(ncc, "ncc", "describe", "file", ncc.name[:-2]) == [ncc.name]
    assert ncc.name in _completed(ncc, "ncc", "get", "-o", "json", "file", "")
    assert _completed(ncc, "ncc", "vm", "stop", ncc.name[:-1]) == [ncc.name]


def test_what_can_be_imported_beside_kinds(ncc: Any) -> None:
    words = ncc.out("completion", "words", "import").split()
    assert {"host", "nixoscontrolcenter", "VirtualMachine"} <= set(words)


def test_bash_is_quiet_while_the_daemon_is_down(ncc: Any) -> None:
    assert _completed(ncc, "ncc", "get", "", env={"NCC_SOCKET": "/nonexistent"}) == []
    assert "apply" in _completed(ncc, "ncc", "", env={"NCC_SOCKET": "/nonexistent"})


@pytest.mark.parametrize(("shell", "sign"), [("zsh", "compdef _ncc ncc"), ("fish", "complete -c ncc")])
def test_other_shells(ncc: Any, shell: str, sign: str) -> None:
    assert sign in ncc.out("completion", shell)


def test_an_unknown_shell_is_refused(ncc: Any) -> None:
    assert ncc.run("completion", "csh").returncode == 2
