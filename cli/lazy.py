"""Puts off imports that a short command never uses: grpc alone would load asyncio for 45 ms.

The standard library's LazyLoader runs such a module at the first look inside it, so nothing can break, only come later.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_LATER = frozenset(
    {
        "asyncio",
        "base64",
        "common.quantities",
        "difflib",
        "grpc.aio",
        "google.protobuf.internal.python_message",
        "google.protobuf.json_format",
        "google.protobuf.text_format",
        "inspect",
        "shlex",
    }
)


class _Later:
    """A finder (importlib.abc.MetaPathFinder, which would cost 20 ms) that wraps the loaders of these modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """importlib's hook: None for all others."""
        if fullname not in _LATER:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def install() -> None:
    """From here on the named modules are loaded late; for processes that serve nothing."""
    sys.meta_path.insert(0, _Later())
