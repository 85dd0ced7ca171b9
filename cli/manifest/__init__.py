"""Reads manifests: YAML or JSON, files, folders or standard input, into resources that know their place in the file.

Nothing is guessed: what could be read in two ways is refused with the place and what to write instead, and all
problems of all files are told at once.
"""

from cli.manifest.load import load
from cli.manifest.model import Document, ManifestError, Position, Problem

__all__ = ["Document", "ManifestError", "Position", "Problem", "load"]
