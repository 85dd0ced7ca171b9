"""source <(ncc completion bash)
ncc completion zsh > ~/.zfunc/_ncc
ncc completion fish > ~/.config/fish/completions/ncc.fish
"""

from __future__ import annotations

import argparse
from itertools import pairwise

from cli.client import connect, socket_argument
from common.errors import ControlError

_BASH = """\
_ncc() {
    local IFS=$'\\n'
    local words_="$(ncc completion words "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)"
    COMPREPLY=($(compgen -W "$words_" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _ncc ncc
"""
_ZSH = """\
#compdef ncc
_ncc() {
    local -a words_
    words_=(${(f)"$(ncc completion words "${(@)words[2,CURRENT-1]}" 2>/dev/null)"})
    (( $#words_ )) && compadd -a words_ || _files
}
compdef _ncc ncc
"""
_FISH = """\
complete -c ncc -a '(ncc completion words (commandline -opc)[2..-1] 2>/dev/null)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
# Options whose next word is no argument of the command.
_TAKES_VALUE = ("-o", "--output", "-l", "--selector", "-n", "--limit", "--for", "--timeout", "--socket")
# What can be imported beside kinds.
_IMPORTS = ("host", "nixoscontrolcenter")
# Verbs of `ncc homelab` that take names of containers.
_TAKES_CONTAINER = ("show", "logs", "exec", "stats", "top", "restart", "updates")
_TAKES_KIND = (
    "get",
    "describe",
    "edit",
    "delete",
    "watch",
    "events",
    "suspend",
    "resume",
    "graph",
    "reconcile",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=(*_SCRIPTS, "words"))
    parser.add_argument("before", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    if args.shell in _SCRIPTS:
        print(_SCRIPTS[args.shell], end="")
        return 0
    print("\n".join(words(args)))
    return 0


def words(args: argparse.Namespace) -> list[str]:
    """What may come next after the words before the cursor; nothing where the daemon is down."""
    from cli.main import COMMANDS

    before = [
        word
        for option, word in pairwise(["", *args.before])
        if not word.startswith("-") and option not in _TAKES_VALUE
    ]
    if not before:
        return list(COMMANDS)
    try:
        if before[0] in (*_TAKES_KIND, "import", "explain") and len(before) == 1:
            more = _IMPORTS if before[0] == "import" else ()
            return sorted([*connect(args).kinds.names(), *more])
        if before[0] in _TAKES_KIND:
            return [one.metadata.name for one in connect(args).listed(before[1])]
        if before[0] == "vm" and len(before) > 1:
            return [one.metadata.name for one in connect(args).listed("VirtualMachine")]
        if before[0] == "homelab":
            return _homelab(args, before[1:])
    except ControlError:
        return []
    return []


def _homelab(args: argparse.Namespace, before: list[str]) -> list[str]:
    """Verbs, then names of containers; of a program's own words we know none."""
    from cli.commands.homelab import VERBS

    if not before:
        return list(VERBS)
    if before[0] not in _TAKES_CONTAINER or (before[0] == "exec" and len(before) > 1):
        return []
    from cli.homelab.service import stub
    from nixcc.homelab.v1 import homelab_pb2 as pb

    client = connect(args)
    return [
        one.name for one in client.call(stub(client).ListContainers, pb.ListContainersRequest()).containers
    ]
