"""Also says which Python and gRPC it runs on."""

from __future__ import annotations

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(args: argparse.Namespace) -> int:
    import platform
    from importlib.metadata import version

    print(f"ncc {version('nixcc')} (Python {platform.python_version()}, grpcio {version('grpcio')})")
    return 0
