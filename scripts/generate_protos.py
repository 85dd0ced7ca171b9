"""Generates protos/gen/nixcc from protos/nixcc: messages, stubs, types, and api.binpb for `ncc explain`.

Usage: generate_protos.py [OUTPUT]    (default protos/gen)

Needs grpcio-tools and mypy-protobuf, in an environment of their own: requirements/protos.txt.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path

import grpc_tools
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "protos"


def main(output: Path) -> int:
    """Generates everything anew below `output`; 0 when it worked."""
    files = sorted(str(path.relative_to(SOURCES)) for path in (SOURCES / "nixcc").rglob("*.proto"))
    package = output / "nixcc"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    # protoc finds its plugins on the PATH of this environment.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "api.binpb"
        arguments = [
            "protoc",
            f"-I{SOURCES}",
            f"-I{_longrunning(Path(scratch))}",
            f"-I{distribution('googleapis-common-protos').locate_file('')}",
            f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
            f"--python_out={output}",
            f"--grpc_python_out={output}",
            f"--mypy_out=quiet:{output}",
            f"--mypy_grpc_out=quiet:{output}",
            f"--descriptor_set_out={image}",
            "--include_imports",
            "--include_source_info",
            *files,
        ]
        if code := protoc.main(arguments):
            return int(code)
        (package / "api.binpb").write_bytes(_with_own_comments(image.read_bytes()))
    for folder in (package, *(path for path in package.rglob("*") if path.is_dir())):
        (folder / "__init__.py").touch()
    (package / "py.typed").touch()
    return 0


def _longrunning(scratch: Path) -> Path:
    """googleapis-common-protos ships operations.proto under another name than its descriptor has."""
    include = scratch / "include"
    target = include / "google/longrunning/operations.proto"
    target.parent.mkdir(parents=True)
    shipped = distribution("googleapis-common-protos").locate_file(
        "google/longrunning/operations_proto.proto"
    )
    shutil.copyfile(str(shipped), target)
    return include


def _with_own_comments(image: bytes) -> bytes:
    files = descriptor_pb2.FileDescriptorSet.FromString(image)
    for file in files.file:
        if not file.name.startswith("nixcc/"):
            file.ClearField("source_code_info")
    return files.SerializeToString(deterministic=True)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else SOURCES / "gen"))
