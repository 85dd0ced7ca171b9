"""ncc homelab plan compose.yaml                      fields without effect, and why; exit code 3: some are needed
ncc homelab plan compose.yaml --all                also those that are simply taken
ncc homelab plan compose.yaml -e TAG=2 --env-file prod.env --profile debug
ncc homelab plan - --directory /srv/shop < compose.yaml
Variables come from -e and env files alone, as they do for a declared Stack: not from this shell.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from cli.client import connect
from cli.homelab.service import stub
from cli.output import BOLD, GREEN, GREY, YELLOW, output_argument, paint, print_as, printable
from common.errors import InvalidRequest, NotFound

_MOST_BYTES = 1_048_576
# Exit code: a Stack of it would be refused.
_REFUSED = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a compose file; -: standard input")
    parser.add_argument("--name", default="", help="the project's name; else the folder's")
    parser.add_argument("--directory", default="", help="where relative paths begin; else the file's folder")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="a variable")
    parser.add_argument("--env-file", action="append", default=[], metavar="FILE", help="a file of variables")
    parser.add_argument("--profile", action="append", default=[], help="a profile that takes part; *: all")
    parser.add_argument("--all", action="store_true", help="also tell of fields that are simply taken")
    output_argument(parser, "table", "json", "yaml")


def run(args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.homelab.v1 import homelab_pb2 as pb

    text, folder = _read(args)
    request = pb.PlanStackRequest(
        name=args.name,
        compose=text,
        project_directory=folder,
        variables=dict(map(_variable, args.env)),
        profiles=args.profile,
        environment_files=[str(Path(file).absolute()) for file in args.env_file],
    )
    client = connect(args)
    found = client.call(stub(client).PlanStack, request)
    if args.output == "table":
        _show(found, everything=args.all)
    else:
        print_as(args.output, spec_to_dict(found))
    return _REFUSED if any(row.verdict == pb.COMPOSE_VERDICT_UNSUPPORTED for row in found.fields) else 0


def _read(args: argparse.Namespace) -> tuple[str, str]:
    """The file's text, and where its paths begin."""
    try:
        if args.file == "-":
            data, folder = sys.stdin.buffer.read(_MOST_BYTES + 1), Path.cwd()
        else:
            path = Path(args.file)
            with path.open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
            folder = path.absolute().parent
    except FileNotFoundError as error:
        raise NotFound(f"there is no {args.file}", next_step="name a compose file") from error
    except OSError as error:
        raise InvalidRequest(f"{args.file} can't be read: {error.strerror}") from error
    if len(data) > _MOST_BYTES:
        raise InvalidRequest(f"{args.file} is larger than {_MOST_BYTES} bytes: no compose file")
    try:
        return data.decode(), str(Path(args.directory).absolute() if args.directory else folder)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{args.file} is no text: byte {error.start} is no UTF-8") from error


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidRequest(f"-e {text}: write NAME=VALUE")
    return name, value


def _show(found: Any, *, everything: bool) -> None:
    from nixcc.homelab.v1 import homelab_pb2 as pb

    stack = found.stack
    print(f"{paint(printable(found.name), BOLD)}: {_count(stack.containers, 'container')}, ", end="")
    print(f"{_count(stack.networks, 'network')}, {_count(stack.volumes, 'volume')}")
    print(f"in this order: {printable(' → '.join(one.name for one in stack.containers))}")
    words = {
        pb.COMPOSE_VERDICT_TAKEN: ("taken", GREEN),
        pb.COMPOSE_VERDICT_IGNORED: ("ignored", GREY),
        pb.COMPOSE_VERDICT_UNSUPPORTED: ("missing", YELLOW),
    }
    shown = [row for row in found.fields if everything or row.verdict != pb.COMPOSE_VERDICT_TAKEN]
    width = max((len(row.path) for row in shown), default=0)
    for row in shown:
        word, colour = words.get(row.verdict, ("?", GREY))
        text = f"  {paint(f'{word:<7}', colour)}  {printable(row.path):<{width}}  {printable(row.reason)}"
        print(text.rstrip())
    taken = sum(row.verdict == pb.COMPOSE_VERDICT_TAKEN for row in found.fields)
    hidden = "" if everything or not taken else "; --all shows those, too"
    print(paint(f"{taken} of {len(found.fields)} fields are taken as they are{hidden}", GREY))


def _count(rows: Any, word: str) -> str:
    return f"{len(rows)} {word}{'' if len(rows) == 1 else 's'}"
