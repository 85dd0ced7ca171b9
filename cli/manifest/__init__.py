"""Manifests: what the owner writes, read into resources with the place of every mistake."""

from __future__ import annotations

from cli.manifest.documents import Document, load, parse
from cli.manifest.problems import ManifestError, Position, Problem

__all__ = ["Document", "ManifestError", "Position", "Problem", "load", "parse"]
