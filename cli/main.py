"""`ncc`: finds the command, imports only that, and turns errors into exit codes."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence

# One line a command: name, group and what it does. Its code is cli/commands/<name>.py (import is a keyword: import_).
COMMANDS: dict[str, tuple[str, str]] = {
    "apply": ("Resources", "make the host be as the manifests say"),
    "diff": ("Resources", "show what applying the manifests would change"),
    "get": ("Resources", "list resources"),
    "describe": ("Resources", "show one resource with its state and events"),
    "edit": ("Resources", "change a resource in your editor"),
    "delete": ("Resources", "remove resources, and what they stand for"),
    "watch": ("Resources", "follow changes as they happen"),
    "import": ("Resources", "write manifests of what the host has and nobody declared"),
    "explain": ("Resources", "show the documentation of a kind and its fields"),
    "reconcile": ("The loop", "look at everything now and put right what differs"),
    "events": ("The loop", "show what the loop did"),
    "suspend": ("The loop", "stop acting on resources; they are still observed"),
    "resume": ("The loop", "act on them again"),
    "graph": ("The loop", "show who needs whom"),
    "operation": ("The loop", "list, await and cancel long actions"),
    "system": ("The host", "facts, health, pending reboot"),
    "generation": ("The host", "NixOS generations: build, diff, switch, confirm, roll back"),
    "hardware": ("The host", "scan the hardware, watch devices, recommend settings"),
    "vm": ("The host", "machines: start, stop, console, snapshots, statistics"),
    "homelab": ("The host", "containers: logs, exec, statistics, images, pruning"),
    "package": ("The host", "packages: search, sizes, history, upgrades, garbage, caches"),
    "update": ("The host", "look for updates, make them, take them back"),
    "option": ("The host", "NixOS's options: search, explain, check, browse"),
    "backup": ("The daemon", "back up its state and /etc/nixos, verify and restore"),
    "serve": ("The daemon", "run the control center"),
    "doctor": ("The daemon", "find out what is wrong with it"),
    "completion": ("The daemon", "print the completion script of a shell"),
    "version": ("The daemon", "print the version"),
}

# Exit codes, by the gRPC status of the error.
_EXIT_CODES = {3: 2, 7: 4, 16: 4, 5: 5, 10: 6, 6: 6, 14: 7, 4: 8}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; gives the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "help"
    name = {"-h": "help", "--help": "help", "--version": "version"}.get(name, name)
    if name != "help" and name not in COMMANDS:
        return _unknown(name)
    try:
        if name == "help":
            print(_help(), flush=True)
            return 0 if arguments else 2
        return _run(name, arguments[1:])
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone: nothing more to say, and nothing more to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        return _unwritable(name, error)


def console() -> None:
    """The `ncc` script: as `main`, without the interpreter's slow way out."""
    # A short command ends before its garbage matters; collecting it would cost some 10 ms.
    gc.disable()
    code = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 141
    except OSError as error:
        code = _unwritable(sys.argv[1] if sys.argv[1:] else "help", error)
    os._exit(code)


def _unwritable(name: str, error: OSError) -> int:
    """Every other trouble with files and sockets has become a ControlError where it arose."""
    where = error.filename or "the output"
    print(
        f"ncc {name}: {where} can't be used: {error.strerror or error}\n  → make room, or write elsewhere",
        file=sys.stderr,
    )
    return 1


def _run(name: str, arguments: list[str]) -> int:
    if name == "serve":
        gc.enable()
    else:
        from cli import lazy

        lazy.install()
    import argparse

    text = COMMANDS[name][1]
    module = importlib.import_module(f"cli.commands.{name}" + "_" * (name == "import"))
    parser = argparse.ArgumentParser(
        prog=f"ncc {name}",
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.arguments(parser)
    try:
        parsed = parser.parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    from common.errors import ControlError

    try:
        if target := os.environ.get("NCC_TRACE"):
            from cli.tracing import traced

            return traced(name, target, lambda: int(module.run(parsed)))
        return int(module.run(parsed))
    except ControlError as error:
        print(f"ncc {name}: {_told(error)}", file=sys.stderr)
        return exit_code(error)


def exit_code(error: object) -> int:
    """The exit code for an error: 1 where it has none of its own."""
    if getattr(error, "reason", "") == "RolledBack":
        return 9
    return _EXIT_CODES.get(int(getattr(error, "code", 0)), 1)


def _told(error: object) -> str:
    lines = [getattr(error, "message", str(error))]
    lines += [
        f"  {violation.field}: {violation.description}"
        for violation in getattr(error, "violations", ())
        if violation.description != lines[0]
    ]
    if step := getattr(error, "next_step", ""):
        lines.append(f"  → {step}")
    from cli.output import printable

    return printable("\n".join(lines))


def _unknown(name: str) -> int:
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"; did you mean {close[0]}?" if close else "; ncc help lists the commands"
    print(f"ncc: there is no command {name!r}{hint}", file=sys.stderr)
    return 2


def _help() -> str:
    lines = ["ncc: keeps this host as its owner wrote it down", "", "usage: ncc COMMAND [OPTION]…"]
    group = ""
    for name, (of, text) in COMMANDS.items():
        if of != group:
            group = of
            lines += ["", f"{group}:"]
        lines.append(f"  {name:<11}{text}")
    lines += ["", "`ncc COMMAND --help` tells more. The daemon is found at --socket or $NCC_SOCKET."]
    return "\n".join(lines)


if __name__ == "__main__":
    console()
