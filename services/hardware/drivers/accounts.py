"""Names of users and groups, from the tree's own lists."""

from __future__ import annotations

import grp
import pwd

from services.hardware.drivers.tree import Tree


def user(tree: Tree, number: int) -> str:
    """The user's name; the number where nobody has it."""
    if tree.live:
        try:
            return pwd.getpwuid(number).pw_name
        except KeyError:
            return str(number)
    return _listed(tree, "/etc/passwd", number)


def group(tree: Tree, number: int) -> str:
    """The group's name; the number where none has it."""
    if tree.live:
        try:
            return grp.getgrgid(number).gr_name
        except KeyError:
            return str(number)
    return _listed(tree, "/etc/group", number)


def _listed(tree: Tree, path: str, number: int) -> str:
    for line in (tree.text(path) or "").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(number):
            return fields[0]
    return str(number)
