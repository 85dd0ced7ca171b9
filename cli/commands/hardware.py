"""ncc hardware                  what the machine is made of
ncc hardware --part network   one part
ncc hardware watch            devices as they come and go
ncc hardware recommend        NixOS options for this machine, with reasons
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from cli.client import Client, connect, socket_argument
from cli.output import BOLD, output_argument, paint, print_as, printable


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=("scan", "watch", "recommend"), nargs="?", default="scan")
    parser.add_argument(
        "--part", action="append", default=[], help="only this part (smart is never in a full scan)"
    )
    output_argument(parser, "table", "json", "yaml")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from nixcc.hardware.v1 import hardware_pb2 as pb
    from nixcc.hardware.v1 import hardware_pb2_grpc

    client = connect(args)
    stub = hardware_pb2_grpc.HardwareServiceStub(client.channel)
    if args.verb == "watch":
        return _watch(client, stub, args.output)
    from cli.presentation import spec_to_dict

    if args.verb == "recommend":
        found = client.call(stub.RecommendSettings, pb.RecommendSettingsRequest())
        if args.output == "table":
            for row in found.recommendations:
                print(f"{paint(row.option, BOLD)} = {row.value_json}\n    {row.reason}")
        else:
            print_as(args.output, json.loads(found.options_json or "{}"))
        return 0
    request = pb.ScanHardwareRequest(parts=[_part(pb, name) for name in args.part])
    inventory = client.call(stub.ScanHardware, request).inventory
    shown = spec_to_dict(inventory)
    # Floating-point seconds for programs, beside the exact text.
    shown["seconds"] = inventory.duration.ToNanoseconds() / 1e9
    if args.output == "table":
        _summary(shown)
    else:
        print_as(args.output, shown)
    return 0


def _part(pb: Any, name: str) -> Any:
    from common.errors import InvalidRequest

    try:
        return pb.Part.Value(f"PART_{name.upper().replace('-', '_')}")
    except ValueError:
        known = ", ".join(key.removeprefix("PART_").lower() for key in pb.Part.keys()[1:])
        raise InvalidRequest(f"there is no part {name!r}", next_step=f"choose among {known}") from None


def _watch(client: Client, stub: Any, output: str) -> int:
    from cli.presentation import spec_to_dict
    from nixcc.hardware.v1 import hardware_pb2 as pb

    for event in client.stream(stub.WatchDevices, pb.WatchDevicesRequest()):
        kind = event.WhichOneof("event")
        if kind == "gap":
            print(f"({event.gap.dropped} events were lost)", flush=True)
        elif kind == "device":
            if output == "json":
                print(json.dumps(spec_to_dict(event.device), ensure_ascii=False), flush=True)
            else:
                device = event.device
                action = pb.DeviceAction.Name(device.action).removeprefix("DEVICE_ACTION_").lower()
                print(
                    f"{action:<8} {device.subsystem:<10} {device.node or device.name or device.sys_path}",
                    flush=True,
                )
    return 0


def _summary(shown: dict[str, Any]) -> None:
    for key, value in shown.items():
        if key in ("time", "duration", "seconds", "timings"):
            continue
        print(paint(key.replace("_", " "), BOLD))
        for line in _lines(value):
            print(f"  {printable(line)[:160]}")
    print(f"\nscanned in {shown['seconds'] * 1e3:.0f} ms; -o json shows everything")


def _lines(value: Any) -> list[str]:
    if isinstance(value, list):
        return [_line(row) for row in value]
    return (
        [f"{key}: {_line(item)}" for key, item in value.items()] if isinstance(value, dict) else [str(value)]
    )


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" for k, v in value.items() if not isinstance(v, dict | list))
    if isinstance(value, list):
        return (
            f"{len(value)} entries"
            if len(value) > 8 or any(isinstance(v, dict) for v in value)
            else ", ".join(map(str, value))
        )
    return str(value)
