"""Kind Package."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import structlog

from common import spec as specs
from common.errors import ControlError, InvalidRequest, Unsupported, Violation
from common.manager import Action, Applied, Change, Detected, Detection, Emit, JsonValue, Report
from nixcc.packages.v1 import package_pb2 as pb
from nixcc.resource.v1.resource_pb2 import Progress
from services.packages.drivers.active_generation import ActiveGeneration
from services.packages.drivers.base import Tell
from services.packages.installation import Installation, Installed, assigned, outputs_of
from services.packages.models import Entry, Wish, plain_attribute
from services.packages.rendering import attributes_of, system_packages
from services.packages.versions import Constraint

log = structlog.get_logger()

PROFILE, SYSTEM = pb.PACKAGE_DRIVER_PROFILE, pb.PACKAGE_DRIVER_SYSTEM


class PackageKind:
    """Packages of the profile, at once; of the system, with the next generation."""

    spec = pb.Package

    def __init__(self, installation: Installation, generation: ActiveGeneration) -> None:
        self._installation = installation
        self._generation = generation
        self._closing = threading.Event()

    def unsupported(self) -> str:
        """See Kind."""
        return "" if self._generation.nixos else self._installation.driver.unsupported()

    def validate(self, name: str, spec: pb.Package) -> Sequence[Violation]:
        """See Kind."""
        spec.attribute = plain_attribute(spec.attribute or name)
        wrong = []
        if any(violation.field == "attribute" for violation in specs.violations(spec)):
            wrong.append(Violation("attribute", f"must be set, since {name!r} is no attribute path"))
        if spec.HasField("version"):
            try:
                spec.version = ", ".join(
                    " ".join(part.split()) for part in spec.version.split(",") if part.strip()
                )
                Constraint.parse(spec.version)
            except ValueError as error:
                wrong.append(Violation("version", str(error)))
        if spec.driver == SYSTEM:
            why = "goes with driver PROFILE only: a package of the system comes from the system's own nixpkgs"
            wrong += [
                Violation(field, why) for field in ("flake", "version", "priority") if spec.HasField(field)
            ]
            wrong += [Violation("outputs", why)] if spec.outputs else []
            wrong += [Violation("pin", why)] if spec.pin else []
        return wrong

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[pb.Package]]:
        """See Kind."""
        contained = self._generation.options("Package")
        entries = self._installation.record.entries()
        installed: Mapping[str, Installed] = {}
        error: ControlError | None = None
        try:
            installed = assigned(self._installation.driver.elements(), entries)
        except ControlError as caught:
            error = caught
        found: dict[str, Detection[pb.Package]] = {}
        for key in keys:
            entry = entries.get(key)
            if key in contained:
                found[key] = _in_generation(contained[key], entry)
            elif entry is not None and entry.wish.system:
                # Kept for the next generation; the profile may hold it until then.
                found[key] = Detected(_system(entry.wish.attribute), pending=("driver",))
            elif error is not None:
                found[key] = error
            else:
                found[key] = _in_profile(installed.get(key))
        return found

    def apply(self, change: Change[pb.Package], report: Report) -> Applied:
        """See Kind."""
        tell = _teller(report)
        if change.action is Action.DELETE or change.desired is None:
            gone = self._installation.remove(change.key, tell, self._closing)
            return Applied("removed" if gone else "was gone already", changed=gone)
        wish = wish_of(change.desired)
        if wish.system:
            return self._leave_to_generation(change.key, wish)
        if reason := self._installation.driver.unsupported():
            raise Unsupported(reason)
        done = self._installation.make_so(change.key, wish, tell, self._closing)
        return Applied(done or "was so already", changed=bool(done))

    def enumerate(self) -> Sequence[str]:
        """See Enumerable."""
        return sorted({*self._installation.installed(), *self._generation.options("Package")})

    def render(self, name: str, spec: pb.Package) -> Mapping[str, JsonValue]:
        """See Renderable: packages of the profile stay live."""
        if spec.driver != SYSTEM:
            raise InvalidRequest("it is kept in the profile", [Violation("driver", "is PROFILE")])
        return system_packages([plain_attribute(spec.attribute or name)])

    def watch(self, emit: Emit) -> None:
        """See Watchable."""
        self._installation.driver.watch(emit)

    def hold(self, keys: Sequence[str]) -> None:
        """See Watchable: the profile changes as one."""

    def drop(self, keys: Sequence[str]) -> None:
        """See Watchable."""

    def close(self) -> None:
        """See Watchable."""
        self._closing.set()
        self._installation.driver.close()

    def _leave_to_generation(self, name: str, wish: Wish) -> Applied:
        if not self._generation.nixos:
            raise Unsupported(
                "this host has no NixOS generations", next_step="choose driver PROFILE for the package"
            )
        known = self._installation.record.entries().get(name)
        kept = (
            Entry(wish)
            if known is None
            else Entry(wish, known.original_url, known.locked_url, known.attr_paths)
        )
        self._installation.record.put(name, kept)
        return Applied("becomes part of the next generation", changed=known != kept, pending=("driver",))


def wish_of(spec: pb.Package) -> Wish:
    """The spec as a model."""
    return Wish(
        attribute=spec.attribute,
        flake=spec.flake,
        version=spec.version,
        outputs=tuple(sorted(spec.outputs)),
        priority=spec.priority if spec.HasField("priority") else None,
        pin=spec.pin,
        system=spec.driver == SYSTEM,
    )


def _system(attribute: str) -> pb.Package:
    return pb.Package(attribute=attribute, driver=SYSTEM, pin=False)


def _in_generation(options: Mapping[str, object], entry: Entry | None) -> Detection[pb.Package]:
    attributes = attributes_of(options)
    known = attributes[0] if attributes else (entry.wish.attribute if entry is not None else "")
    return Detected(_system(known))


def _in_profile(mine: Installed | None) -> Detection[pb.Package]:
    if mine is None:
        return None
    wish, element = mine.entry.wish, mine.element
    if mine.declared and len(mine.elements) < len(mine.entry.attr_paths):
        return None  # an output is missing: made anew
    spec = pb.Package(
        attribute=wish.attribute,
        outputs=outputs_of(mine.elements, wish.attribute),
        priority=element.priority,
        # Somebody moved it on: it is no longer where it was pinned.
        pin=wish.pin and element.locked_url == mine.entry.locked_url,
        driver=PROFILE,
    )
    if wish.flake:
        spec.flake = wish.flake
    if wish.version:
        allowed = Constraint.parse(wish.version).allows(element.version)
        spec.version = wish.version if allowed else f"={element.version or '0'}"
    return Detected(spec)


def _teller(report: Report) -> Tell:
    def tell(progress: Progress) -> None:
        report(progress.message, progress.percent if progress.HasField("percent") else None)

    return tell
