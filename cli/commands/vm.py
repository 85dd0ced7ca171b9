"""ncc vm                             machines and what they are doing
ncc vm start web · ncc vm stop web   changes spec.running, so that it stays so
ncc vm console web                 its serial console; Ctrl-] ends it
ncc vm reboot web · ncc vm reset web
ncc vm snapshot web [list|create|revert|delete] [NAME]
ncc vm stats [web]                 live
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from cli.client import Client, connect, socket_argument
from cli.duration import seconds
from cli.output import output_argument, print_as, print_table
from common.errors import InvalidRequest

_VERBS = ("list", "get", "start", "stop", "reboot", "reset", "console", "snapshot", "stats", "hypervisor")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=_VERBS, nargs="?", default="list")
    parser.add_argument("name", metavar="NAME", nargs="?", default="")
    parser.add_argument("rest", nargs="*", metavar="…", help="snapshot: what to do, and its name")
    parser.add_argument("--disks-only", action="store_true", help="snapshot create: without the memory")
    parser.add_argument("--force", action="store_true", help="console: take it from whoever has it")
    parser.add_argument("--wait", action="store_true", help="start, stop: until it is so")
    parser.add_argument("--timeout", type=seconds, default=60.0)
    output_argument(parser, "table", "json", "yaml")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.vm.v1 import vm_service_pb2 as pb
    from nixcc.vm.v1 import vm_service_pb2_grpc

    client = connect(args)
    stub = vm_service_pb2_grpc.VmServiceStub(client.channel)
    if args.verb not in ("list", "stats", "hypervisor") and not args.name:
        raise InvalidRequest("which machine?", next_step=f"ncc vm {args.verb} NAME; ncc vm lists them")
    if args.verb == "list":
        _list(client.call(stub.ListVms, pb.ListVmsRequest()).vms, args.output)
    elif args.verb == "get":
        print_as(
            args.output.replace("table", "yaml"),
            spec_to_dict(client.call(stub.GetVm, pb.GetVmRequest(name=args.name)).vm),
        )
    elif args.verb in ("start", "stop"):
        return _set_running(client, args)
    elif args.verb == "reboot":
        client.call(stub.RebootVm, pb.RebootVmRequest(name=args.name))
    elif args.verb == "reset":
        client.call(stub.ResetVm, pb.ResetVmRequest(name=args.name))
    elif args.verb == "console":
        from cli.console import attach

        return attach(client, stub, args.name, force=args.force)
    elif args.verb == "snapshot":
        return _snapshot(client, stub, args)
    elif args.verb == "stats":
        return _stats(client, stub, args)
    else:
        found = client.call(stub.GetHypervisor, pb.GetHypervisorRequest())
        print_as(args.output.replace("table", "yaml"), spec_to_dict(found))
    return 0


def _state(value: Any) -> str:
    from nixcc.vm.v1 import vm_service_pb2 as pb

    return str(pb.VmState.Name(value)).removeprefix("VM_STATE_").lower().replace("_", " ")


def _list(vms: Any, output: str) -> None:
    from cli.presentation import spec_to_dict

    if output != "table":
        print_as(output, {"items": [spec_to_dict(vm) for vm in vms]})
        return
    rows = [[vm.name, _state(vm.state), str(vm.cpus), f"{vm.memory // 2**20} MiB", vm.reason] for vm in vms]
    print_table(["NAME", "STATE", "CPUS", "MEMORY", "REASON"], rows)


def _set_running(client: Client, args: argparse.Namespace) -> int:
    """Changes what is desired: the loop does the rest, and keeps it so."""
    from common.errors import NotFound
    from nixcc.state.v1 import state_pb2

    request = state_pb2.GetRequest(kind="VirtualMachine", name=args.name)
    try:
        resource = client.call(client.state.Get, request).resource
    except NotFound as error:
        raise NotFound(
            f"{args.name} is not declared here",
            next_step=f"adopt it: ncc import vm {args.name} | ncc apply -f -",
        ) from error
    info = client.kinds.resolve("VirtualMachine")
    assert info is not None
    spec: Any = info.message.FromString(resource.spec.value)
    spec.running = args.verb == "start"
    resource.spec.value = spec.SerializeToString(deterministic=True)
    resource.ClearField("status")
    client.call(client.state.Apply, state_pb2.ApplyRequest(resources=[resource]))
    print(f"VirtualMachine/{args.name} configured: running: {'true' if spec.running else 'false'}")
    if not args.wait:
        return 0
    from cli.progress import wait_until_ready

    return wait_until_ready(
        client, [("VirtualMachine", args.name, False)], deadline=time.monotonic() + args.timeout
    )


def _snapshot(client: Client, stub: Any, args: argparse.Namespace) -> int:

    from cli.presentation import spec_to_dict
    from nixcc.vm.v1 import vm_service_pb2 as pb

    verb, name = [*args.rest, "", ""][:2]
    if verb in ("", "list"):
        found = client.call(stub.ListSnapshots, pb.ListSnapshotsRequest(vm=args.name)).snapshots
        if args.output != "table":
            print_as(args.output, {"items": [spec_to_dict(one) for one in found]})
        else:
            rows = [
                [
                    ("*" if s.current else " ") + s.name,
                    s.create_time.ToJsonString(),
                    _state(s.state),
                    s.parent,
                ]
                for s in found
            ]
            print_table(["NAME", "CREATED", "STATE", "FOLLOWS"], rows)
        return 0
    request: Any
    if verb == "create":
        request = pb.CreateSnapshotRequest(vm=args.name, name=name, disks_only=args.disks_only)
    elif verb == "revert":
        request = pb.RevertSnapshotRequest(vm=args.name, name=name)
    elif verb == "delete":
        request = pb.DeleteSnapshotRequest(vm=args.name, name=name)
    else:
        raise InvalidRequest(
            f"{verb!r} can't be done with snapshots", next_step="choose among list, create, revert, delete"
        )
    from cli.commands.operation import wait
    from cli.operations import start

    operation = start(
        client, f"/nixcc.vm.v1.VmService/{verb.capitalize()}Snapshot", request, "VirtualMachine", args.name
    )
    return wait(client, operation.name, 3_600.0, args.output)


def _stats(client: Client, stub: Any, args: argparse.Namespace) -> int:
    import json

    from cli.presentation import spec_to_dict
    from nixcc.vm.v1 import vm_service_pb2 as pb

    request = pb.WatchVmStatsRequest(names=[args.name] if args.name else [])
    for response in client.stream(stub.WatchVmStats, request):
        if args.output == "json":
            print(json.dumps(spec_to_dict(response), ensure_ascii=False), flush=True)
            continue
        for row in response.vms:
            memory = f"{row.memory_resident // 2**20} MiB" if row.HasField("memory_resident") else "-"
            cpu = f"{row.cpu_percent:.1f} %" if row.HasField("cpu_percent") else "-"
            print(f"{row.name:<20} {_state(row.state):<12} cpu {cpu:<8} memory {memory}", flush=True)
    return 0
