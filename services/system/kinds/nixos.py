"""NixOS options. What people wrote stays data: JSON strings, and base64 where a line format would read it."""

from __future__ import annotations

import base64
import re

from common.manager import JsonValue
from nixcc.system.v1 import file_pb2

_ETC = "/etc/"


def file_options(name: str, spec: file_pb2.File) -> dict[str, JsonValue]:
    """`environment.etc` for text and absolute links below /etc, `systemd.tmpfiles.settings` for the rest."""
    if spec.path.startswith(_ETC) and (entry := _etc_entry(spec)) is not None:
        return {"environment": {"etc": {spec.path.removeprefix(_ETC): entry}}}
    rule: dict[str, JsonValue] = {
        "user": spec.owner if spec.HasField("owner") else "-",
        "group": spec.group if spec.HasField("group") else "-",
    }
    if spec.directory:
        sort = "d"
    elif spec.HasField("symlink"):
        sort = "L+"
        rule["argument"] = _argument(spec.symlink)
    else:
        content = spec.data if spec.HasField("data") else spec.content.encode()
        # `~`: the argument is base64 (tmpfiles.d(5), since systemd 250).
        sort = "f+~" if content else "f+"
        if content:
            rule["argument"] = base64.b64encode(content).decode()
    if spec.HasField("mode"):
        rule["mode"] = f"{spec.mode:04o}"
    return {"systemd": {"tmpfiles": {"settings": {f"nixcc-{name}": {_quoted(spec.path): {sort: rule}}}}}}


def _etc_entry(spec: file_pb2.File) -> dict[str, JsonValue] | None:
    """The `environment.etc` entry; None where it can't carry the file."""
    if spec.HasField("symlink"):
        plain = re.fullmatch(r"/[^*]*", spec.symlink)  # its builder expands `*` in sources
        owned = spec.HasField("owner") or spec.HasField("group")
        return {"source": spec.symlink} if plain and not owned else None
    if not spec.HasField("content"):
        return None
    entry: dict[str, JsonValue] = {"text": spec.content}
    if spec.HasField("mode") or spec.HasField("owner") or spec.HasField("group"):
        # Without a mode it would be a link into the store, whose owner can't be chosen.
        entry["mode"] = f"{spec.mode if spec.HasField('mode') else 0o644:04o}"
        entry["user"] = _account(spec.owner)
        entry["group"] = _account(spec.group)
    return entry


def _account(name: str) -> str:
    """environment.etc writes numbers with a plus sign."""
    if not name:
        return "+0"
    return f"+{name}" if name.isdecimal() else name


def _quoted(path: str) -> str:
    """For a field that nixpkgs' module puts in single quotes: there a backslash takes what follows as it is."""
    return re.sub(r"([\\'\"])", r"\\\1", path).replace("%", "%%")


def _argument(text: str) -> str:
    """For the last field of tmpfiles.d(5): C escapes, doubled percent signs, no blanks at the ends."""
    text = text.replace("\\", "\\\\").replace("%", "%%")
    return re.sub(r"^ | $", r"\\x20", text)
