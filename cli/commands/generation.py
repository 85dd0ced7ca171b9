"""ncc generation                          the generations of this host
ncc generation diff [FLAKE]              build, and show what switching would change
ncc generation build [FLAKE]             build only
ncc generation switch|boot|test [FLAKE]  build and switch in two phases; 9: rolled back
ncc generation confirm | reject          say that the new one is fine, or that it is not
ncc generation rollback [NUMBER]         back to an earlier one, without the network
ncc generation window                    the switch under way, or the last one
ncc generation delete [NUMBER…] [--keep N] [--older-than 30d]
ncc generation specialisations [FLAKE]

FLAKE is a flake (`/etc/nixos#web1`) or the path of a built system; left out, it is what the resource Generation/system
says, else /etc/nixos.
"""

from __future__ import annotations

import argparse
from typing import Any

from cli.client import Client, connect, socket_argument
from cli.duration import seconds
from cli.operations import unpacked
from cli.output import GREEN, RED, YELLOW, output_argument, paint, print_as, print_table, printable
from common.errors import ControlError, InvalidRequest, NotFound

_SERVICE = "/nixcc.system.v1.GenerationService/"
_VERBS = (
    *("list", "build", "diff", "switch", "boot", "test", "confirm", "reject"),
    *("rollback", "window", "delete", "specialisations"),
)
_KIND, _NAME = "Generation", "system"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=_VERBS, nargs="?", default="list")
    parser.add_argument("targets", metavar="FLAKE|NUMBER", nargs="*")
    parser.add_argument("--profile", default="", help="list: another profile than `system`")
    parser.add_argument("--specialisation", metavar="NAME", help="switch, test: run this one")
    parser.add_argument("--confirm", choices=("auto", "manual"), help="who says that it is fine")
    parser.add_argument("--deadline", type=seconds, help="undo it unless confirmed by then")
    parser.add_argument("--detach", action="store_true", help="don't wait; prints the operation's name")
    parser.add_argument(
        "--no-activation", action="store_true", help="diff: don't run the new system's dry-activate"
    )
    parser.add_argument("--keep", type=int, metavar="N", help="delete: all but the newest N")
    parser.add_argument("--older-than", type=seconds, help="delete: only older ones")
    parser.add_argument("--dry-run", action="store_true", help="delete: only say which")
    parser.add_argument("--timeout", type=seconds, default=86_400.0, help="wait no longer")
    output_argument(parser, "table", "json", "yaml")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from nixcc.system.v1 import generation_pb2_grpc

    client = connect(args)
    stub = generation_pb2_grpc.GenerationServiceStub(client.channel)
    if args.verb in ("confirm", "reject", "window", "list") and args.targets:
        raise InvalidRequest(f"ncc generation {args.verb} takes no {args.targets[0]!r}")
    verbs = {
        "list": _list,
        "window": _show_window,
        "confirm": _confirm,
        "reject": _confirm,
        "delete": _delete,
        "build": _build,
        "specialisations": _build,
        "diff": _diff,
        "rollback": _rollback,
    }
    return verbs.get(args.verb, _switch)(client, stub, args)


def _list(client: Client, stub: Any, args: argparse.Namespace) -> int:
    from nixcc.system.v1 import generation_pb2 as pb

    found = client.call(stub.ListGenerations, pb.ListGenerationsRequest(profile=args.profile)).generations
    if args.output != "table":
        # Exactly what `nixos-rebuild list-generations --json` prints.
        rows = [
            {
                "generation": one.number,
                "date": one.date,
                "nixosVersion": one.nixos_version,
                "kernelVersion": one.kernel_version,
                "configurationRevision": one.configuration_revision,
                "specialisations": list(one.specialisations),
                "current": one.current,
            }
            for one in found
        ]
        print_as(args.output, rows)
        return 0
    rows_shown = [
        [
            f"{one.number}{'*' if one.current else ''}",
            one.date,
            one.nixos_version,
            one.kernel_version,
            ", ".join(one.specialisations),
            " ".join(word for word, so in (("running", one.running), ("booted", one.booted)) if so),
        ]
        for one in found
    ]
    print_table(["GENERATION", "DATE", "NIXOS", "KERNEL", "SPECIALISATIONS", "STATE"], rows_shown)
    return 0


def _build(client: Client, stub: Any, args: argparse.Namespace) -> int:
    from nixcc.system.v1 import generation_pb2 as pb

    operation = _run(
        client, args, "BuildGeneration", pb.BuildGenerationRequest(generation=_wish(client, args))
    )
    if operation is None:
        return 0
    built = unpacked(operation, pb.BuildGenerationResponse()).result
    if args.verb == "specialisations":
        if args.output == "table":
            print("\n".join(map(printable, built.specialisations)))
        else:
            print_as(args.output, list(built.specialisations))
        return 0
    if args.output == "table":
        print(built.toplevel)
    else:
        print_as(args.output, _dict(built))
    return 0


def _diff(client: Client, stub: Any, args: argparse.Namespace) -> int:
    from cli.generations import print_diff
    from nixcc.system.v1 import generation_pb2 as pb

    request = pb.DiffGenerationRequest(generation=_wish(client, args), skip_activation=args.no_activation)
    operation = _run(client, args, "DiffGeneration", request)
    if operation is None:
        return 0
    found = unpacked(operation, pb.DiffGenerationResponse()).result
    if args.output == "table":
        print_diff(found)
    else:
        print_as(args.output, _dict(found))
    return 0


def _switch(client: Client, stub: Any, args: argparse.Namespace) -> int:
    from nixcc.system.v1 import generation_pb2 as pb

    wish = _wish(client, args)
    wish.mode = pb.SwitchMode.Value(f"SWITCH_MODE_{args.verb.upper()}")
    operation = _run(client, args, "SwitchGeneration", pb.SwitchGenerationRequest(generation=wish))
    return _ended(operation, pb.SwitchGenerationResponse(), args)


def _rollback(client: Client, stub: Any, args: argparse.Namespace) -> int:
    from nixcc.system.v1 import generation_pb2 as pb

    if len(args.targets) > 1:
        raise InvalidRequest("ncc generation rollback takes one number")
    options = pb.Generation()
    _options(options, args)
    declared = _declared(client)
    request = pb.RollbackGenerationRequest(options=options)
    request.number = _number(args.targets[0]) if args.targets else 0
    if declared is not None:
        _suspend(client)
    operation = _run(client, args, "RollbackGeneration", request)
    return _ended(operation, pb.RollbackGenerationResponse(), args)


def _confirm(client: Client, stub: Any, args: argparse.Namespace) -> int:
    from nixcc.system.v1 import generation_pb2 as pb

    request = pb.ConfirmGenerationRequest(reject=args.verb == "reject")
    _print_window(client.call(stub.ConfirmGeneration, request, timeout=1_300).window, args.output)
    return 0


def _show_window(client: Client, stub: Any, args: argparse.Namespace) -> int:
    from nixcc.system.v1 import generation_pb2 as pb

    response = client.call(stub.GetWindow, pb.GetWindowRequest())
    if not response.HasField("window"):
        raise NotFound("nothing was switched here yet", next_step="ncc generation switch")
    _print_window(response.window, args.output)
    return 0


def _delete(client: Client, stub: Any, args: argparse.Namespace) -> int:
    from nixcc.system.v1 import generation_pb2 as pb

    request = pb.DeleteGenerationsRequest(numbers=map(_number, args.targets), dry_run=args.dry_run)
    if args.keep is not None:
        if args.keep < 1:
            raise InvalidRequest("--keep must be at least 1")
        request.keep = args.keep
    if args.older_than is not None:
        request.older_than_seconds = int(args.older_than)
    response = client.call(stub.DeleteGenerations, request)
    if args.output != "table":
        print_as(args.output, _dict(response))
    else:
        for number in response.deleted:
            print(f"generation {number} {'would be deleted' if args.dry_run else 'deleted'}")
        for kept in response.kept:
            print(f"generation {kept.number} stays: {printable(kept.reason)}")
    return 1 if response.kept else 0


def _run(client: Client, args: argparse.Namespace, method: str, request: Any) -> Any:
    """Starts an operation and waits for its end; None where nobody wants to wait."""
    from cli.operations import follow, start

    operation = start(client, _SERVICE + method, request, _KIND, _NAME)
    if args.detach:
        print(operation.name)
        return None
    return follow(client, operation.name, args.timeout)


def _ended(operation: Any, response: Any, args: argparse.Namespace) -> int:
    if operation is not None:
        _print_window(unpacked(operation, response).result, args.output)
    return 0


def _print_window(window: Any, output: str) -> None:
    if output != "table":
        print_as(output, _dict(window))
        return
    from nixcc.system.v1 import generation_pb2 as pb

    state = pb.WindowState.Name(window.state).removeprefix("WINDOW_STATE_")
    colour = {"CONFIRMED": GREEN, "ROLLED_BACK": RED, "REVERT_FAILED": RED}.get(state, YELLOW)
    print(f"{paint(state.lower().replace('_', ' '), colour)}: {printable(window.new_toplevel)}")
    if window.reason:
        print(f"  {printable(window.reason)}")
    if not window.HasField("end_time"):
        print(f"  until {window.deadline.ToJsonString()}: ncc generation confirm, or ncc generation reject")


def _wish(client: Client, args: argparse.Namespace) -> Any:
    """From the arguments, else from what is declared, else /etc/nixos."""
    from nixcc.system.v1 import generation_pb2 as pb

    if len(args.targets) > 1:
        raise InvalidRequest(f"ncc generation {args.verb} takes one flake or path")
    wish = pb.Generation()
    declared = _declared(client)
    if declared is not None:
        wish.ParseFromString(declared)
        wish.ClearField("renderings")
    if args.targets:
        target = args.targets[0]
        for field in ("flake", "attribute", "toplevel", "specialisation"):
            wish.ClearField(field)
        flake, _, attribute = target.partition("#")
        if _is_system(target):
            wish.toplevel = target
        else:
            wish.flake = flake
            if attribute:
                wish.attribute = attribute
    elif declared is None:
        wish.flake = "/etc/nixos"
    _options(wish, args)
    return wish


def _options(wish: Any, args: argparse.Namespace) -> None:
    from nixcc.system.v1 import generation_pb2 as pb

    if args.specialisation:
        wish.specialisation = args.specialisation
    if args.confirm:
        wish.confirm = pb.Confirmation.Value(f"CONFIRMATION_{args.confirm.upper()}")
    if args.deadline is not None:
        wish.deadline = int(args.deadline)


def _is_system(target: str) -> bool:
    """A path of the store; whoever has another store names what lies in it."""
    import os

    return target.startswith("/nix/store/") or os.path.exists(f"{target}/nixos-version")


def _declared(client: Client) -> bytes | None:
    """The declared spec; None: nobody declared it, or there is no reconciler to ask."""
    from nixcc.state.v1 import state_pb2

    try:
        request = state_pb2.GetRequest(kind=_KIND, name=_NAME)
        value: bytes = client.call(client.state.Get, request).resource.spec.value
    except ControlError:
        return None
    return value


def _suspend(client: Client) -> None:
    """Or the loop would switch forward again."""
    from nixcc.reconciler.v1 import reconciler_pb2

    selection = reconciler_pb2.Selection(kind=_KIND, names=[_NAME])
    client.call(client.loop.Suspend, reconciler_pb2.SuspendRequest(selection=selection))
    print(f"{_KIND}/{_NAME} suspended, so that it stays so; ncc resume generation system ends that")


def _number(text: str) -> int:
    if not text.isdecimal():
        raise InvalidRequest(f"{text!r} is no generation's number", next_step="ncc generation list")
    return int(text)


def _dict(message: Any) -> Any:
    from cli.presentation import spec_to_dict

    return spec_to_dict(message)
