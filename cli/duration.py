"""Durations on the command line."""

from __future__ import annotations

import argparse


def seconds(text: str) -> float:
    """`30s`, `2m`, `500ms`, or plain seconds; raises what argparse shows."""
    from common.quantities import fold
    from nixcc.resource.v1 import options_pb2

    try:
        if text.replace(".", "", 1).isdigit():
            return float(text)
        return fold(options_pb2.UNIT_MILLISECONDS, text) / 1_000
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
