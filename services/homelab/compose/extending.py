"""`extends`: services made from others, of the same file or of another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import InvalidRequest
from services.homelab.compose.layers import layers
from services.homelab.compose.merging import merged, plain
from services.homelab.compose.paths import absolute, located
from services.homelab.compose.verdicts import Findings

_DEEPEST = 10
_KNOWN = frozenset({"service", "file"})


@dataclass(frozen=True, slots=True)
class Source:
    """The services of one file. `faults`: what is wrong with that file, told only of services that are taken."""

    services: Mapping[str, Any]
    directory: Path
    file: str = ""
    faults: Findings | None = None


class Extending:
    """For the services of one file."""

    def __init__(
        self, read: Callable[[Path], bytes | None], variables: Mapping[str, str], findings: Findings
    ) -> None:
        self._read = read
        self._variables = variables
        self._findings = findings

    def whole(
        self, name: str, source: Source, path: str, seen: tuple[tuple[str, str], ...] = ()
    ) -> dict[str, Any]:
        """The service `name` with all that it extends; faults are told of `path`."""
        service = source.services[name]
        where = f"{path}.extends"
        self._tell(name, source, where)
        extends = plain(service.get("extends"))
        if extends is None:
            return _service(service)
        if isinstance(extends, str):
            extends = {"service": extends}
        if not isinstance(extends, dict) or not isinstance(extends.get("service"), str):
            self._findings.fault(where, "must name a service")
            return _service(service)
        for key in extends.keys() - _KNOWN:
            self._findings.unsupported(f"{where}.{key}", "compose knows no such field here")
        other, file = extends["service"], extends.get("file")
        base = source if file is None else self._source(str(file), source.directory, where)
        if base is None:
            return _service(service)
        mark = (base.file, other)
        if mark in seen or len(seen) > _DEEPEST:
            self._findings.fault(where, f"goes round in a circle at {other}")
            return _service(service)
        if other not in base.services:
            said = f" in {base.file}" if base.file else ""
            self._findings.fault(where, f"there is no service {other}{said}")
            return _service(service)
        return _service(merged(self.whole(other, base, path, (*seen, mark)), _service(service, tags=True)))

    def _tell(self, name: str, source: Source, where: str) -> None:
        for violation in source.faults.faults if source.faults else ():
            field = violation.field
            if field == f"services.{name}" or field.startswith((f"services.{name}.", f"services.{name}[")):
                self._findings.fault(where, f"{source.file}: {field}: {violation.description}")

    def _source(self, file: str, directory: Path, where: str) -> Source | None:
        path = Path(absolute(file, directory))
        content = self._read(path)
        if content is None:
            self._findings.fault(where, f"the file {path} is not there")
            return None
        inner = Findings()
        try:
            value = layers([content.decode(errors="replace")], self._variables, inner)
        except InvalidRequest as error:
            self._findings.fault(where, f"{path}: {error.message}")
            return None
        services = value.get("services")
        if not isinstance(services, dict):
            self._findings.fault(where, f"{path} has no services")
            return None
        found = {
            name: located(one or {}, path.parent)
            for name, one in services.items()
            if one is None or isinstance(one, dict)
        }
        return Source(found, path.parent, str(path), inner)


def _service(service: Mapping[str, Any], *, tags: bool = False) -> dict[str, Any]:
    """Without `extends`; `tags`: with what tells how it is merged."""
    found = {key: value for key, value in service.items() if key != "extends"}
    if tags:
        return found
    without = plain(found)
    assert isinstance(without, dict)
    return without
