"""A compose file with all that it includes and extends: plain services, networks, volumes, secrets and configs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import InvalidRequest
from services.homelab.compose import environment
from services.homelab.compose.extending import Extending, Source
from services.homelab.compose.layers import SECTIONS, layers
from services.homelab.compose.merging import merged, plain
from services.homelab.compose.paths import absolute, located
from services.homelab.compose.scalars import Wrong, pairs, string, strings
from services.homelab.compose.verdicts import Findings

Read = Callable[[Path], bytes | None]
# Files within files.
_DEEPEST, _MOST_INCLUDES = 10, 500
_OTHERS = ("name", "include")
_WITHOUT_EFFECT = {
    "version": "compose files have no versions any more",
    "models": "models are not run here; a service that needs one is refused",
}


@dataclass
class Project:
    """What the sections hold, by name; paths are absolute."""

    services: dict[str, Any] = field(default_factory=dict)
    networks: dict[str, Any] = field(default_factory=dict)
    volumes: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, Any] = field(default_factory=dict)
    configs: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    # Those that stood in its text: given ones go before those of files.
    variables: Mapping[str, str] = field(default_factory=dict)


class Loader:
    """Reads one project. Faults are collected in `findings`."""

    def __init__(
        self, read: Read, given: Mapping[str, str], findings: Findings, left: Iterator[int] | None = None
    ) -> None:
        self._read = read
        self._given = given
        self._findings = findings
        # Counts the includes that are left, for all loaders of a project.
        self._left = iter(range(_MOST_INCLUDES)) if left is None else left

    def load(
        self,
        texts: Sequence[str],
        directory: Path,
        files: Sequence[Path] | None,
        within: tuple[str, ...] = (),
    ) -> Project:
        """The project of texts, each over those before.

        `files`: with values of variables (None: `.env` in the folder, if it is there).

        `within`: the files that include this one, the nearest last.
        """
        variables = self._variables(directory, files)
        raw = layers(texts, variables, self._findings)
        project = Project(name=str(raw.get("name") or ""), variables=variables)
        for key, value in raw.items():
            if key in SECTIONS:
                self._section(project, key, value, directory)
            elif key.startswith("x-"):
                self._findings.ignored(key, "x- fields are for whoever reads the file")
            elif key in _WITHOUT_EFFECT:
                self._findings.ignored(key, _WITHOUT_EFFECT[key])
            elif key not in _OTHERS:
                self._findings.fault(key, "compose knows no such section")
        self._included(project, raw.get("include"), directory, variables, within)
        extending = Extending(self._read, variables, self._findings)
        for name in list(project.services):
            source = Source(dict(project.services), directory)
            project.services[name] = self._passed(
                extending.whole(name, source, f"services.{name}"), variables, f"services.{name}"
            )
        return project

    def _located(
        self, entry: dict[str, Any], section: str, path: str, directory: Path, variables: Mapping[str, str]
    ) -> None:
        """A secret's or config's file with its whole path; a config from a variable with its content."""
        if isinstance(entry.get("file"), str):
            entry["file"] = absolute(entry["file"], directory)
        variable = entry.get("environment")
        if section == "configs" and isinstance(variable, str):
            if variable in variables:
                entry["content"] = variables[variable]
            else:
                said = f"the variable {variable} is not set; set it in variables or .env"
                self._findings.fault(f"{path}.environment", said)

    def _passed(self, service: dict[str, Any], variables: Mapping[str, str], path: str) -> dict[str, Any]:
        """With the values of variables that are named alone: they are passed on, where there are any."""
        try:
            given = pairs(service.get("environment"))
        except Wrong:
            return service  # told where the service is read
        if None not in given.values():
            return service
        passed = {name: variables.get(name) if one is None else one for name, one in given.items()}
        for name, one in passed.items():
            if one is None:
                said = "is set neither in variables nor in .env, and so not in the container"
                self._findings.ignored(f"{path}.environment.{name}", said)
        return {**service, "environment": {name: one for name, one in passed.items() if one is not None}}

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
            elif section in ("secrets", "configs"):
                self._located(entry, section, path, directory, project.variables)
            getattr(project, section)[name] = entry

    def _included(
        self,
        project: Project,
        value: Any,
        directory: Path,
        variables: Mapping[str, str],
        within: tuple[str, ...],
    ) -> None:
        entries = plain(value) if isinstance(plain(value), list) else [] if value is None else [plain(value)]
        for index, entry in enumerate(entries):
            where = f"include[{index}]"
            if isinstance(entry, str):
                entry = {"path": entry}
            try:
                paths = [Path(absolute(one, directory)) for one in strings(entry["path"])]
                files = [Path(absolute(one, directory)) for one in strings(entry.get("env_file"))] or None
                chosen = entry.get("project_directory")
                base = Path(absolute(string(chosen), directory)) if chosen else paths[0].parent
            except (Wrong, LookupError, TypeError, AttributeError):
                self._findings.fault(where, "must be a file, or a mapping with path")
                continue
            for key in entry.keys() - {"path", "env_file", "project_directory"}:
                self._findings.unsupported(f"{where}.{key}", "compose knows no such field here")
            found = self._include(paths, base, files, variables, where, within)
            # The file itself goes over what it includes.
            _layer(found, project)
            for section in SECTIONS:
                setattr(project, section, getattr(found, section))

    def _include(
        self,
        paths: Sequence[Path],
        base: Path,
        files: Sequence[Path] | None,
        variables: Mapping[str, str],
        where: str,
        within: tuple[str, ...],
    ) -> Project:
        if next(self._left, None) is None:
            self._findings.fault(where, f"there are more than {_MOST_INCLUDES} includes")
            return Project()
        texts = []
        for path in paths:
            if str(path) in within or len(within) >= _DEEPEST:
                self._findings.fault(where, f"goes round in a circle: {' → '.join([*within, str(path)])}")
                return Project()
            content = self._read(path)
            if content is None:
                self._findings.fault(where, f"the file {path} is not there")
                return Project()
            texts.append(content.decode(errors="replace"))
        said = ", ".join(map(str, paths))
        inner = Findings()
        loader = Loader(self._read, variables, inner, self._left)
        try:
            found = loader.load(texts, base, files, (*within, *map(str, paths)))
        except InvalidRequest as error:
            self._findings.fault(where, f"{said}: {error.message}")
            return Project()
        for violation in inner.faults:
            self._findings.fault(where, f"{said}: {violation.field}: {violation.description}")
        self._findings.verdicts += inner.verdicts
        self._findings.taken(where)
        return found


def _layer(under: Project, over: Project) -> None:
    """Puts one project over another."""
    for section in SECTIONS:
        there = getattr(under, section)
        for name, one in getattr(over, section).items():
            there[name] = merged(there[name], one) if name in there else one
