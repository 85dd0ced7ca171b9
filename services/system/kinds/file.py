"""Kind File: protobuf <-> models, what the field rules can't say, and NixOS options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from common.errors import ControlError, Violation
from common.manager import Action, Applied, Change, Detected, Emit, JsonValue, Report
from nixcc.system.v1 import file_pb2
from services.system.drivers.base import FileDriver
from services.system.kinds import nixos
from services.system.models import FileState, FileType, FileWish

File = file_pb2.File

# What `content` may not hold, as common.spec has it for multi-line text: such bytes are `data`.
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# The kernel's own; they are no files to be replaced.
_KERNEL = {"/proc": "Sysctl", "/sys": "the hardware service's kinds", "/dev": "udev rules"}
# The one above it means "unchanged" to chown(2).
_LARGEST_ID = 2**32 - 2
# So many small files' last answers are kept, some 1 KiB each.
_KEPT, _KEPT_SIZE = 10_000, 4096
# Looked up once, as a pass asks thousands of times.
_REGULAR = FileType.REGULAR


class FileKind:
    """Files, links and folders under the root."""

    spec = File

    def __init__(self, driver: FileDriver) -> None:
        self._driver = driver
        # Keys whose owner or group is declared as a number that has a name meanwhile: found out by an Apply.
        self._numeric: dict[str, tuple[bool, bool]] = {}
        # The last answers. The disk is read all the same; what is equal is not made into a message anew.
        self._seen: dict[str, tuple[FileState, Detected[File]]] = {}

    def unsupported(self) -> str:
        return ""

    def validate(self, name: str, spec: File) -> Sequence[Violation]:
        found = [Violation("path", text) for text in _wrong_path(spec.path)]
        chosen = [field for field in ("content", "data", "symlink") if spec.HasField(field)]
        chosen += ["directory"] if spec.directory else []
        if len(chosen) != 1:
            got = f"has {' and '.join(chosen)}" if chosen else "has none"
            text = f"exactly one of content, data, symlink and directory: true is needed; {got}"
            found.append(Violation("content", text))
        if spec.HasField("symlink"):
            if not spec.symlink:
                found.append(Violation("symlink", "must not be empty"))
            if spec.HasField("mode"):
                found.append(Violation("mode", "a symbolic link has no mode of its own: leave it out"))
        if spec.HasField("data") and not found and (plain := _as_text(spec.data)) is not None:
            spec.content = plain
            spec.ClearField("data")
        if spec.HasField("owner"):
            found += _wrong_id("owner", spec.owner)
            spec.owner = self._driver.owner_name(_plain_id(spec.owner))
        if spec.HasField("group"):
            found += _wrong_id("group", spec.group)
            spec.group = self._driver.group_name(_plain_id(spec.group))
        return found

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detected[File] | ControlError | None]:
        found: dict[str, Detected[File] | ControlError | None] = {}
        seen = self._seen
        for path, state in self._driver.read(keys).items():
            known = seen.get(path)
            if known is not None and known[0] == state:
                found[path] = known[1]
            elif isinstance(state, FileState):
                shown = self._with_numbers(path, state) if path in self._numeric else state
                detected = found[path] = _detected(path, shown)
                if len(seen) < _KEPT and len(state.content or b"") <= _KEPT_SIZE:
                    seen[path] = (state, detected)
            else:
                seen.pop(path, None)
                found[path] = state
        return found

    def apply(self, change: Change[File], report: Report) -> Applied:
        path = change.key
        if change.action is Action.DELETE or change.desired is None:
            self._numeric.pop(path, None)
            self._seen.pop(path, None)
            removed = self._driver.remove(path)
            return Applied(f"removed {path}" if removed else f"{path} was gone already", changed=removed)
        desired = change.desired
        done = self._driver.write(path, _wish(desired))
        self._numeric.pop(path, None)
        if not done and (desired.owner.isdecimal() or desired.group.isdecimal()):
            self._numeric[path] = (desired.owner.isdecimal(), desired.group.isdecimal())
        self._seen.pop(path, None)
        return Applied(done or f"{path} was so already", changed=bool(done))

    def _with_numbers(self, path: str, state: FileState) -> FileState:
        owner, group = self._numeric[path]
        return state._replace(
            owner=str(state.uid) if owner else state.owner, group=str(state.gid) if group else state.group
        )

    def watch(self, emit: Emit) -> None:
        self._driver.watch(emit)

    def hold(self, keys: Sequence[str]) -> None:
        self._driver.hold(keys)

    def drop(self, keys: Sequence[str]) -> None:
        self._driver.drop(keys)

    def close(self) -> None:
        self._driver.close()

    def render(self, name: str, spec: File) -> Mapping[str, JsonValue]:
        return nixos.file_options(name, spec)


def _wrong_path(path: str) -> list[str]:
    found = []
    if not path.startswith("/"):
        return ["must be absolute, such as /etc/motd"]
    parts = path.split("/")[1:]
    if path == "/":
        found.append("the root itself can't be managed")
    elif parts[-1] == "":
        found.append("must not end with a slash")
    if "" in parts[:-1]:
        found.append("must not contain //")
    if ".." in parts or "." in parts:
        found.append("must not contain . or .. as a part")
    if any(len(part.encode()) > 255 for part in parts):
        found.append("has a part of more than 255 bytes")
    if re.fullmatch(r"\.nixcc-[0-9a-f]{16}\.tmp", parts[-1]):
        found.append("is a name that half-made files have")
    if (better := _KERNEL.get(f"/{parts[0]}")) is not None:
        found.append(f"lies in /{parts[0]}, which belongs to the kernel: use {better}")
    return found


def _plain_id(account: str) -> str:
    return str(int(account)) if account.isdecimal() else account


def _wrong_id(field: str, account: str) -> list[Violation]:
    if account.isdecimal() and int(account) > _LARGEST_ID:
        return [Violation(field, f"must be at most {_LARGEST_ID}")]
    return []


def _as_text(data: bytes) -> str | None:
    """The text, where `content` can hold it."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if _NO_TEXT.search(text) else text


def _detected(path: str, state: FileState) -> Detected[File]:
    kind, mode, owner, group, _, _, content, target = state
    if kind is _REGULAR:
        if content is None:
            return Detected(File(path=path, directory=False, mode=mode, owner=owner, group=group))
        text = _as_text(content)
        data = content if text is None else None
        return Detected(
            File(path=path, content=text, data=data, directory=False, mode=mode, owner=owner, group=group)
        )
    if kind is FileType.SYMLINK:
        return Detected(File(path=path, directory=False, symlink=target, owner=owner, group=group))
    spec = File(path=path, directory=kind is FileType.DIRECTORY, mode=mode, owner=owner, group=group)
    if kind is FileType.DIRECTORY:
        return Detected(spec)
    return Detected(spec, unhealthy=f"{path} is a FIFO, a socket or a device; remove it by hand")


def _wish(spec: File) -> FileWish:
    mode = spec.mode if spec.HasField("mode") else None
    owner = spec.owner if spec.HasField("owner") else None
    group = spec.group if spec.HasField("group") else None
    if spec.directory:
        return FileWish(FileType.DIRECTORY, b"", "", mode, owner, group)
    if spec.HasField("symlink"):
        return FileWish(FileType.SYMLINK, b"", spec.symlink, None, owner, group)
    content = spec.data if spec.HasField("data") else spec.content.encode()
    return FileWish(FileType.REGULAR, content, "", mode, owner, group)
