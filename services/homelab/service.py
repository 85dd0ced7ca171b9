"""The domain rpcs' rules: models in, models out. Blocking; the rpcs call it in the service's executor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from common.errors import Cancelled, ControlError, InvalidRequest, NotFound, Violation, WrongState
from services.homelab import pruning
from services.homelab.drivers.base import Engine, EngineInfo, ExecSession, Json, Report
from services.homelab.exports.exported import Note
from services.homelab.exports.text import Form, text
from services.homelab.image_updates.updater import Updater
from services.homelab.inspecting import listed_labels, listed_name, view
from services.homelab.models import (
    ContainerView,
    Declared,
    ImageUpdate,
    LogQuery,
    Processes,
    Program,
    PulledImage,
    Unused,
    Usage,
)
from services.homelab.references import digest_of
from services.homelab.usage import usage

_LISTS = "ncc homelab lists them"


class HomelabService:
    """Containers as they are, and what may be done with them that is no change of their spec."""

    def __init__(self, engine: Engine, declared: Callable[[], Declared], updater: Updater) -> None:
        self.engine = engine
        self._declared = declared
        self._updater = updater

    def containers(self, stack: str = "") -> Sequence[ContainerView]:
        """All, by name; those that go away meanwhile are left out."""
        return [view(one) for one in self._inspected(self._names(stack))]

    def container(self, name: str) -> ContainerView:
        """The container; NotFound where there is none."""
        return view(self.inspected(name))

    def inspected(self, name: str) -> Json:
        """What the engine tells of it; NotFound where there is none."""
        if not name:
            raise InvalidRequest("which container?", [Violation("container", "must be given")])
        found = self.engine.containers.inspect(name)
        if found is None:
            raise NotFound(f"there is no container {name!r}", next_step=_LISTS)
        return found

    def chosen(self, names: Sequence[str], stack: str) -> Sequence[str]:
        """The names that are meant, each once; NotFound for a name or stack that isn't there."""
        if not names and not stack:
            raise InvalidRequest(
                "which containers?",
                [Violation("containers", "name some, or a stack")],
                next_step=_LISTS,
            )
        known = {listed_name(row): row for row in self.engine.containers.list()}
        for name in names:
            if name not in known:
                raise NotFound(f"there is no container {name!r}", next_step=_LISTS)
        found = list(names)
        if stack:
            found += sorted(name for name, row in known.items() if listed_labels(row).stack == stack)
            if len(found) == len(names):
                raise NotFound(f"there is no stack {stack!r}, or it has no containers", next_step=_LISTS)
        return list(dict.fromkeys(found))

    def logged(self, query: LogQuery) -> Sequence[str]:
        """Whose output a query is about."""
        return self.chosen(query.containers, query.stack)

    def processes(self, name: str) -> Processes:
        """The processes of one that runs."""
        self._running(name)
        found = self.engine.containers.top(name)
        return Processes(
            tuple(map(str, found.get("Titles") or ())),
            tuple(tuple(map(str, row)) for row in found.get("Processes") or ()),
        )

    def restart(self, name: str, grace: int | None) -> ContainerView:
        """Stops and starts it."""
        self.inspected(name)
        self.engine.containers.restart(name, grace)
        return self.container(name)

    def execute(self, program: Program) -> ExecSession:
        """Runs a program in it."""
        if not program.command:
            raise InvalidRequest("which program?", [Violation("start.command", "must be given")])
        self._running(program.container)
        return self.engine.containers.exec(
            program.container,
            program.command,
            tty=program.tty,
            user=program.user,
            working_dir=program.working_dir,
        )

    def usage(self, names: Sequence[str]) -> Sequence[Usage]:
        """What containers use; without names all that run. Those that end meanwhile are left out."""
        found = []
        for name in names or self._running_names():
            try:
                found.append(usage(name, self.engine.containers.stats(name)))
            except (NotFound, WrongState):
                continue
        return found

    def export(self, names: Sequence[str], stack: str, form: Form) -> tuple[str, Sequence[Note]]:
        """Containers as they are in a form of others."""
        return text(self.engine, [self.inspected(name) for name in self.chosen(names, stack)], form)

    def require_all(self, names: Sequence[str]) -> None:
        """NotFound for the first that isn't there."""
        if names:
            self.chosen(names, "")

    def pull(
        self, reference: str, credentials_file: str, report: Report, cancel: threading.Event
    ) -> PulledImage:
        """Fetches an image."""
        if not reference:
            raise InvalidRequest("which image?", [Violation("reference", "must be given")])
        if credentials_file and not Path(credentials_file).is_absolute():
            raise InvalidRequest(
                "the file with credentials must have a whole path",
                [Violation("credentials_file", "must begin with '/'")],
            )
        images = self.engine.images
        before = images.inspect(reference)
        credentials = Path(credentials_file) if credentials_file else None
        images.pull(reference, report, credentials_file=credentials, cancel=cancel)
        after = images.inspect(reference)
        if after is None:
            raise NotFound(
                f"the engine fetched {reference} and doesn't have it",
                next_step="look whether somebody removed it meanwhile, and pull again",
            )
        identifier = str(after.get("Id", ""))
        return PulledImage(
            reference=reference,
            id=identifier,
            digest=digest_of(list(after.get("RepoDigests") or ()), reference),
            up_to_date=before is not None and before.get("Id") == identifier,
        )

    def updates(self, names: Sequence[str], report: Report, cancel: threading.Event) -> Sequence[ImageUpdate]:
        """Of each container, or of those named, whether its tag leads to another image now."""
        self.require_all(names)
        report("looks at containers", None)
        return self._updater.look(self._inspected(names or self._names("")), report, cancel)

    def update(self, names: Sequence[str], report: Report, cancel: threading.Event) -> Sequence[ImageUpdate]:
        """Brings newer images in now, and waits for the loop to take them."""
        return self._updater.update(names, report, cancel)

    def prune(
        self, types: Sequence[str], dry_run: bool, report: Report, cancel: threading.Event
    ) -> Sequence[Unused]:
        """Removes what nobody uses of `types`, or only tells. What became used meanwhile is kept, and says so."""
        if not types:
            raise InvalidRequest(
                "what is to be removed?",
                [Violation("containers", "choose some of containers, images, networks, volumes")],
            )
        # First: without it nothing may go.
        declared = self._declared()
        report("looks what is used", None)
        engine = self.engine
        holdings = pruning.Holdings(
            engine.containers.list(),
            engine.images.list() if "image" in types else (),
            engine.networks.list() if "network" in types else (),
            engine.volumes.list() if "volume" in types else (),
            engine.disk_usage(),
        )
        found: list[Unused] = []
        gone: frozenset[str] = frozenset()
        if "container" in types:
            found += pruning.unused_containers(holdings, declared)
            gone = frozenset(one.name for one in found if not one.kept)
        if "network" in types:
            found += pruning.unused_networks(holdings, declared, gone)
        if "volume" in types:
            found += pruning.unused_volumes(holdings, declared, gone)
        if "image" in types:
            found += pruning.unused_images(holdings, declared, gone)
        return found if dry_run else self._removed(found, report, cancel)

    def info(self) -> EngineInfo:
        """Facts about the engine."""
        return self.engine.info()

    def _removed(self, found: Sequence[Unused], report: Report, cancel: threading.Event) -> Sequence[Unused]:
        """Removes what isn't kept: containers first, which hold the others."""
        result = []
        for number, one in enumerate(found):
            if cancel.is_set():
                raise Cancelled("pruning was stopped; what is gone stays gone")
            kept = one.kept
            if not kept:
                report(f"{one.type} {one.name}", 100 * number // len(found))
                try:
                    self._remove(one)
                except ControlError as error:
                    if error.retryable:
                        raise
                    kept = error.message
            result.append(Unused(one.type, one.names, one.size, kept))
        return result

    def _remove(self, one: Unused) -> None:
        engine = self.engine
        if one.type == "container":
            engine.containers.remove(one.name)
        elif one.type == "network":
            engine.networks.remove(one.name)
        elif one.type == "volume":
            engine.volumes.remove(one.name)
        else:
            for name in one.names:
                engine.images.remove(name)

    def _running(self, name: str) -> None:
        state = self.inspected(name).get("State") or {}
        if state.get("Paused"):
            raise WrongState(f"container {name} is held", next_step=f"let it go on: docker unpause {name}")
        if not state.get("Running"):
            raise WrongState(
                f"container {name} does not run: {state.get('Status') or 'it has ended'}",
                next_step=f"see why: ncc homelab logs {name} --tail 20",
            )

    def _names(self, stack: str) -> Sequence[str]:
        rows = self.engine.containers.list()
        return sorted(listed_name(row) for row in rows if not stack or listed_labels(row).stack == stack)

    def _running_names(self) -> Sequence[str]:
        rows = self.engine.containers.list()
        return sorted(listed_name(row) for row in rows if str(row.get("State", "")).lower() == "running")

    def _inspected(self, names: Sequence[str]) -> Sequence[Json]:
        found = (self.engine.containers.inspect(name) for name in names)
        return [one for one in found if one is not None]
