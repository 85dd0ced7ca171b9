"""The files a service sees: volumes, secrets, configs."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from nixcc.homelab.v1 import stack_pb2
from services.homelab.compose import mounts
from services.homelab.compose.reading import Reading
from services.homelab.compose.scalars import Wrong, integer, sequence, string, strings

_OF_THE_HOST = "the file has the owner and mode that it has on the host"
# Of what the compose file holds, as compose makes it.
_READABLE = 0o444


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
    times: Counter[str] = Counter()
    for index, entry in enumerate(sequence(value)):
        where = f"{path}[{index}]"
        name, fields, declared = _declared(entry, where, at.around.secrets, "secret", at)
        for key in sorted(fields.keys() & {"uid", "gid", "mode"}):
            at.findings.ignored(f"{where}.{key}", _OF_THE_HOST)
        if (file := declared.get("file")) is None:
            # Its value would be in the spec, and so in the store.
            said = f"the secret {name} has no file: put it into one, and name that under secrets.{name}.file"
            at.findings.unsupported(where, said)
            continue
        target = string(fields.get("target") or "")
        # One secret may be at several places; only the first can have its name.
        times[name] += 1
        again = times[name] > 1
        if again:
            target = target or name
            if any(target in (one.target, one.target or one.name) for one in at.found.secrets):
                at.findings.ignored(where, f"{target} is there already")
                continue
        one = at.found.secrets.add(name=f"{name}.{times[name]}" if again else name, file=_whole(file))
        if target:
            one.target = target


def configs(value: Any, path: str, at: Reading) -> None:
    for index, entry in enumerate(sequence(value)):
        where = f"{path}[{index}]"
        name, fields, declared = _declared(entry, where, at.around.configs, "config", at)
        content = declared.get("content")
        for key in sorted(fields.keys() & {"uid", "gid", "mode"}):
            if key != "mode" or content is None:
                at.findings.ignored(f"{where}.{key}", _OF_THE_HOST)
        if declared.get("file") is not None:
            source = _whole(declared["file"])
        elif content is not None:
            source = _kept(name, string(content), _mode(fields.get("mode")), at)
        else:
            said = f"the config {name} has neither file nor content: put it into a file, and name that"
            at.findings.unsupported(where, said)
            continue
        target = string(fields.get("target") or f"/{name}")
        at.found.mounts.add(target=target, type=pb.MOUNT_TYPE_BIND, source=source, read_only=True)


def _declared(
    entry: Any, path: str, declared: Mapping[str, Any], sort: str, at: Reading
) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
    """The name, what the service says of it, and what the file says."""
    fields = entry if isinstance(entry, dict) else {"source": entry}
    name = string(fields.get("source"))
    if name not in declared:
        raise Wrong(f"the {sort} {name} is not among the file's {sort}s")
    at.findings.unknown(fields, ("source", "target", "uid", "gid", "mode"), path)
    return name, fields, declared[name]


def _kept(name: str, content: str, mode: int, at: Reading) -> str:
    """Where a file with this content lies; another content is another file, and so another container."""
    data = content.encode()
    digest = hashlib.sha256(b"%o " % mode + data).hexdigest()[:16]
    path = str(at.around.folder / f"{digest}-{re.sub('[^A-Za-z0-9._-]', '_', name)[:100]}")
    at.around.files[path] = stack_pb2.StackFile(path=path, content=content, mode=mode)
    return path


def _mode(value: Any) -> int:
    """`0440`, as a number or a text."""
    if value is None:
        return _READABLE
    if isinstance(value, str) and re.fullmatch(r"0?o?[0-7]{1,4}", value):
        return int(value.replace("o", ""), 8)
    mode = integer(value)
    if not 0 <= mode <= 0o7777:
        raise Wrong(f"mode {mode:o} is none of a file")
    return mode


def _whole(file: Any) -> str:
    path = string(file)
    if path.startswith("~"):
        raise Wrong("begins with ~, and the daemon has no home of yours: write the whole path")
    return path
