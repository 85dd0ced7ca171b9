"""Opens $VISUAL or $EDITOR; what is wrong is shown there again. Nothing is overwritten that changed meanwhile."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path

from cli.client import connect, socket_argument
from common.errors import CommandFailed, InvalidRequest


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND")
    parser.add_argument("name", metavar="NAME")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from cli.commands.get import resources
    from cli.manifest import parse
    from cli.presentation import Presenter, manifest_to_dict, to_yaml
    from cli.submission import submit_documents

    client = connect(args)
    one = resources(client, args.kind, [args.name])[0]
    # Secrets are shown as tokens that stand for them when they come back.
    secrets: dict[str, str] = {}
    shown = manifest_to_dict(one, client.kinds, Presenter(secrets=secrets))
    shown["metadata"]["etag"] = one.metadata.etag
    text = before = to_yaml(shown)
    with tempfile.TemporaryDirectory(prefix="ncc-edit-") as folder:
        path = Path(folder) / f"{one.kind}-{one.metadata.name.replace('/', '_')}.yaml"
        while True:
            path.write_text(text, encoding="utf-8")
            _open(path)
            edited = path.read_text(encoding="utf-8", errors="replace")
            plain = "".join(line for line in edited.splitlines(True) if not line.startswith("#!"))
            if plain.strip() in ("", before.strip()):
                print("nothing changed")
                return 0
            try:
                documents = parse(plain, client.kinds, file=path.name, secrets=secrets)
                submit_documents(client, documents)
                break
            except InvalidRequest as error:
                if not sys.stdin.isatty() or edited == text:
                    raise
                notes = [str(error), *(f"{v.field}: {v.description}" for v in error.violations)]
                text = "".join(f"#! {note}\n" for note in notes) + plain
    print(f"{one.kind}/{one.metadata.name} configured")
    return 0


def _open(path: Path) -> None:
    """The editor is the one program the command line starts, in its own place: it needs the terminal."""
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    try:
        code = os.spawnvp(os.P_WAIT, editor[0], [*editor, str(path)])  # noqa: S606
    except OSError as error:
        raise InvalidRequest(
            f"{editor[0]} can't be started: {error.strerror}", next_step="set EDITOR"
        ) from error
    if code:
        raise CommandFailed(editor, code, "", next_step="nothing was changed")
