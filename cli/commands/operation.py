"""Operations go on without their client; their names are printed by the command that started them."""

from __future__ import annotations

import argparse
from typing import Any

from cli.client import Client, connect, socket_argument
from cli.duration import seconds
from cli.operations import follow
from cli.output import output_argument, print_as, print_table


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=("list", "get", "wait", "cancel", "delete"))
    parser.add_argument("name", metavar="NAME", nargs="?", default="")
    parser.add_argument("--timeout", type=seconds, default=3_600.0)
    output_argument(parser, "table", "json", "yaml")
    socket_argument(parser)


def run(args: argparse.Namespace) -> int:
    from google.longrunning import operations_pb2 as lro
    from google.longrunning import operations_pb2_grpc

    client = connect(args)
    stub = operations_pb2_grpc.OperationsStub(client.channel)
    if args.verb == "list":
        found = list(client.call(stub.ListOperations, lro.ListOperationsRequest(page_size=1_000)).operations)
        if args.output == "table":
            rows = [
                [row["name"], row["method"], row["state"], row["progress"]] for row in map(as_dict, found)
            ]
            print_table(["NAME", "METHOD", "STATE", "PROGRESS"], rows)
        else:
            print_as(args.output, {"operations": [as_dict(one) for one in found]})
        return 0
    if args.verb == "get":
        _print(client.call(stub.GetOperation, lro.GetOperationRequest(name=args.name)), args.output)
        return 0
    if args.verb == "wait":
        return wait(client, args.name, args.timeout, args.output)
    request: Any = lro.CancelOperationRequest(name=args.name)
    method = stub.CancelOperation
    if args.verb == "delete":
        request, method = lro.DeleteOperationRequest(name=args.name), stub.DeleteOperation
    client.call(method, request)
    return 0


def wait(client: Client, name: str, timeout: float, output: str = "table") -> int:
    """Until the operation ends, showing its progress on a terminal; raises the error that it ended with."""
    _print(follow(client, name, timeout), output)
    return 0


def as_dict(operation: Any) -> dict[str, str]:
    """An operation for people and programs."""
    from nixcc.reconciler.v1 import reconciler_pb2

    metadata = reconciler_pb2.OperationMetadata()
    operation.metadata.Unpack(metadata)
    state = "running" if not operation.done else "failed" if operation.HasField("error") else "done"
    percent = f"{metadata.progress.percent} % " if metadata.progress.HasField("percent") else ""
    return {
        "name": operation.name,
        "method": metadata.method,
        "state": state,
        "progress": percent + metadata.progress.message,
        "error": operation.error.message,
        "create_time": metadata.create_time.ToJsonString(),
    }


def _print(operation: Any, output: str) -> None:
    row = as_dict(operation)
    if output == "table":
        print(f"{row['name']}  {row['state']}  {row['progress'] or row['error']}".rstrip())
    else:
        print_as(output, row)
