"""A compose file with all that it includes and extends: plain services, networks, volumes, secrets and configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import InvalidRequest, Violation
from services.homelab.compose import environment, interpolation
from services.homelab.compose.merging import merged, plain
from services.homelab.compose.paths import absolute, located
from services.homelab.compose.scalars import Wrong, strings
from services.homelab.compose.verdicts import Findings
from services.homelab.compose.yaml_text import parse

Read = Callable[[Path], bytes | None]
# Files within files.
_DEEPEST = 10
_SECTIONS = ("services", "networks", "volumes", "secrets", "configs")
_OTHERS = ("name", "version", "include", "models")


@dataclass
class Project:
    """What the sections hold, by name; paths are absolute."""

    services: dict[str, Any] = field(default_factory=dict)
    networks: dict[str, Any] = field(default_factory=dict)
    volumes: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, Any] = field(default_factory=dict)
    configs: dict[str, Any] = field(default_factory=dict)
    name: str = ""


class Loader:
    """Reads one project. Faults are collected in `findings`."""

    def __init__(self, read: Read, given: Mapping[str, str], findings: Findings) -> None:
        self._read = read
        self._given = given
        self._findings = findings

    def load(self, text: str, directory: Path, files: Sequence[Path] | None, depth: int = 0) -> Project:
        """The text's project; `files`: with values of variables (None: `.env` in the folder, if it is there)."""
        variables = self._variables(directory, files)
        raw = self._interpolated(text, variables)
        project = Project(name=str(raw.get("name") or ""))
        for key, value in raw.items():
            if key in _SECTIONS:
                self._section(project, key, value, directory)
            elif key.startswith("x-"):
                self._findings.ignored(key, "x- fields are for whoever reads the file")
            elif key not in _OTHERS:
                self._findings.fault(key, "compose knows no such section")
        for name in list(project.services):
            project.services[name] = self._extended(
                name, project.services, directory, variables, (), f"services.{name}"
            )
        self._included(project, raw.get("include"), directory, variables, depth)
        return project

    def _variables(self, directory: Path, files: Sequence[Path] | None) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in [directory / ".env"] if files is None else files:
            content = self._read(path)
            if content is None:
                if files is not None:
                    self._findings.fault("environment_files", f"{path} is not there")
                continue
            try:
                found.update(environment.parse(content.decode(), {**found, **self._given}))
            except (environment.Wrong, UnicodeDecodeError) as error:
                what = str(error) if isinstance(error, environment.Wrong) else "it is no text"
                self._findings.fault("environment_files", f"{path}: {what}")
        return {**found, **self._given}

    def _interpolated(self, text: str, variables: Mapping[str, str]) -> dict[str, Any]:
        value, lines = parse(text)
        if not self._findings.lines:
            self._findings.lines = lines
        if not isinstance(value, dict):
            raise InvalidRequest(
                "the compose file is no mapping with services",
                [Violation("", "must hold services:")],
                next_step="give it the text of a compose file",
            )
        found = interpolation.tree(value, "", variables, self._findings)
        assert isinstance(found, dict)
        return found

    def _section(self, project: Project, section: str, value: Any, directory: Path) -> None:
        if value is None:
            return
        value = plain(value) if section != "services" else value
        if not isinstance(value, dict):
            self._findings.fault(section, "must be a mapping of names")
            return
        for name, one in value.items():
            path = f"{section}.{name}"
            if name.startswith("x-") and section != "services":
                self._findings.ignored(path, "x- fields are for whoever reads the file")
                continue
            if one is not None and not isinstance(one, dict):
                self._findings.fault(path, "must be a mapping")
                continue
            entry = dict(one or {})
            if section == "services":
                entry = located(entry, directory)
            elif section in ("secrets", "configs") and isinstance(entry.get("file"), str):
                entry["file"] = absolute(entry["file"], directory)
            getattr(project, section)[name] = entry

    def _extended(
        self,
        name: str,
        services: Mapping[str, Any],
        directory: Path,
        variables: Mapping[str, str],
        seen: tuple[tuple[str, str], ...],
        path: str,
    ) -> dict[str, Any]:
        service = services[name]
        extends = plain(service.get("extends"))
        if extends is None:
            found = plain(service)
            assert isinstance(found, dict)
            return found
        where = f"{path}.extends"
        if isinstance(extends, str):
            extends = {"service": extends}
        if not isinstance(extends, dict) or not isinstance(extends.get("service"), str):
            self._findings.fault(where, "must name a service")
            return self._without(service)
        other, file = extends["service"], extends.get("file")
        mark = (str(file or directory), other)
        if mark in seen or len(seen) > _DEEPEST:
            self._findings.fault(where, f"goes round in a circle at {other}")
            return self._without(service)
        if file is not None:
            loaded = self._services_of(str(file), directory, variables, where)
            if loaded is None:
                return self._without(service)
            services, directory = loaded
        if other not in services:
            self._findings.fault(where, f"there is no service {other}")
            return self._without(service)
        base = self._extended(other, services, directory, variables, (*seen, mark), path)
        found = plain(merged(base, self._without_key(service)))
        assert isinstance(found, dict)
        return found

    def _services_of(
        self, file: str, directory: Path, variables: Mapping[str, str], where: str
    ) -> tuple[dict[str, Any], Path] | None:
        path = Path(absolute(file, directory))
        content = self._read(path)
        if content is None:
            self._findings.fault(where, f"the file {path} is not there")
            return None
        inner = Findings()
        try:
            value, _ = parse(content.decode(errors="replace"))
            value = interpolation.tree(value, "", variables, inner)
        except InvalidRequest as error:
            self._findings.fault(where, f"{path}: {error.message}")
            return None
        services = value.get("services") if isinstance(value, dict) else None
        if not isinstance(services, dict):
            self._findings.fault(where, f"{path} has no services")
            return None
        for violation in inner.faults:
            self._findings.fault(where, f"{path}: {violation.field}: {violation.description}")
        return {
            name: located(one or {}, path.parent)
            for name, one in services.items()
            if one is None or isinstance(one, dict)
        }, path.parent

    def _included(
        self, project: Project, value: Any, directory: Path, variables: Mapping[str, str], depth: int
    ) -> None:
        entries = plain(value) if isinstance(plain(value), list) else [] if value is None else [plain(value)]
        for index, entry in enumerate(entries):
            where = f"include[{index}]"
            if isinstance(entry, str):
                entry = {"path": entry}
            try:
                paths = strings(entry["path"])
                files = strings(entry.get("env_file")) or None
            except (Wrong, KeyError, TypeError, AttributeError):
                self._findings.fault(where, "must be a file, or a mapping with path")
                continue
            if depth >= _DEEPEST:
                self._findings.fault(where, "files include one another without end")
                return
            for path in paths:
                self._include(project, path, entry, files, directory, variables, where, depth)

    def _include(
        self,
        project: Project,
        file: str,
        entry: Mapping[str, Any],
        files: Sequence[str] | None,
        directory: Path,
        variables: Mapping[str, str],
        where: str,
        depth: int,
    ) -> None:
        path = Path(absolute(file, directory))
        content = self._read(path)
        if content is None:
            self._findings.fault(where, f"the file {path} is not there")
            return
        chosen = entry.get("project_directory")
        base = Path(absolute(str(chosen), directory)) if chosen else path.parent
        inner = Findings()
        loader = Loader(self._read, variables, inner)
        try:
            resolved = None if files is None else [Path(absolute(one, directory)) for one in files]
            found = loader.load(content.decode(errors="replace"), base, resolved, depth + 1)
        except InvalidRequest as error:
            self._findings.fault(where, f"{path}: {error.message}")
            return
        for violation in inner.faults:
            self._findings.fault(where, f"{path}: {violation.field}: {violation.description}")
        self._findings.verdicts += inner.verdicts
        self._findings.taken(where)
        for section in _SECTIONS:
            mine, theirs = getattr(project, section), getattr(found, section)
            for name, one in theirs.items():
                if name in mine and mine[name] != one:
                    self._findings.fault(where, f"{section}.{name} is in {path} and in the file itself")
                mine.setdefault(name, one)

    def _without(self, service: dict[str, Any]) -> dict[str, Any]:
        found = plain(self._without_key(service))
        assert isinstance(found, dict)
        return found

    @staticmethod
    def _without_key(service: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in service.items() if key != "extends"}
