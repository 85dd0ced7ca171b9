"""The files a service sees: volumes, secrets, configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.compose import mounts
from services.homelab.compose.reading import Reading
from services.homelab.compose.scalars import Wrong, sequence, string, strings


def volumes(value: Any, path: str, at: Reading) -> None:
    places: dict[str, str] = {}
    for index, entry in enumerate(sequence(value)):
        where = f"{path}[{index}]"
        try:
            mounts.mount(entry, where, at.around.volumes, at.found, at.findings)
        except Wrong as error:
            at.findings.fault(where, str(error))
            continue
        if not at.found.mounts:
            continue
        # As compose has it: of several at one place the last counts.
        place = at.found.mounts[-1].target
        earlier = [one for one, mount in enumerate(at.found.mounts[:-1]) if mount.target == place]
        for one in earlier:
            at.findings.ignored(places[place], f"{where} is mounted at the same place, and goes before it")
            del at.found.mounts[one]
        places[place] = where


def tmpfs(value: Any, path: str, at: Reading) -> None:
    for one in strings(value):
        where, options = mounts.tmpfs(one)
        at.found.tmpfs[where] = options


def secrets(value: Any, path: str, at: Reading) -> None:
    for index, entry in enumerate(sequence(value)):
        where = f"{path}[{index}]"
        name, target, file = _file_of(entry, where, at.around.secrets, "secret", at)
        if file:
            one = at.found.secrets.add(name=name, file=file)
            if target:
                one.target = target


def configs(value: Any, path: str, at: Reading) -> None:
    for index, entry in enumerate(sequence(value)):
        where = f"{path}[{index}]"
        name, target, file = _file_of(entry, where, at.around.configs, "config", at)
        if file:
            at.found.mounts.add(
                target=target or f"/{name}", type=pb.MOUNT_TYPE_BIND, source=file, read_only=True
            )


def _file_of(
    entry: Any, path: str, declared: Mapping[str, Any], sort: str, at: Reading
) -> tuple[str, str, str]:
    fields = entry if isinstance(entry, dict) else {"source": entry}
    name = string(fields.get("source"))
    if name not in declared:
        raise Wrong(f"the {sort} {name} is not among the file's {sort}s")
    at.findings.unknown(fields, ("source", "target", "uid", "gid", "mode"), path)
    for key in sorted(fields.keys() & {"uid", "gid", "mode"}):
        at.findings.ignored(f"{path}.{key}", "the file has the owner and mode that it has on the host")
    file = declared[name].get("file")
    if not isinstance(file, str):
        at.findings.unsupported(path, f"the {sort} {name} has no file: put it into one, and name that")
        return name, "", ""
    if file.startswith("~"):
        raise Wrong("begins with ~, and the daemon has no home of yours: write the whole path")
    return name, string(fields.get("target") or ""), file
