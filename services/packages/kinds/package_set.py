"""Kind PackageSet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.errors import InvalidRequest, Violation, WrongState
from common.manager import Applied, Change, Detected, Detection, JsonValue, Report
from nixcc.packages.v1 import package_set_pb2 as pb
from services.packages.drivers.active_generation import ActiveGeneration
from services.packages.drivers.base import DeclaredSets
from services.packages.rendering import attributes_of, system_packages


class PackageSetKind:
    """Named groups of packages, parts of the system."""

    spec = pb.PackageSet

    def __init__(self, generation: ActiveGeneration, declared: DeclaredSets) -> None:
        self._generation = generation
        self._declared = declared

    def unsupported(self) -> str:
        """See Kind."""
        return (
            "" if self._generation.nixos else "this host has no NixOS generations; declare each as a Package"
        )

    def validate(self, name: str, spec: pb.PackageSet) -> Sequence[Violation]:
        """See Kind. Whether conflicting sets are declared is looked at when a generation is made of them."""
        wrong = []
        if not spec.packages and not spec.requires:
            wrong.append(Violation("packages", "must not be empty where the set requires no other"))
        wrong += [Violation("requires", "names itself")] if name in spec.requires else []
        wrong += [Violation("conflicts", "names itself")] if name in spec.conflicts else []
        both = sorted(set(spec.requires) & set(spec.conflicts))
        wrong += [Violation("conflicts", f"{other} is required, too") for other in both]
        return wrong

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[pb.PackageSet]]:
        """See Kind."""
        contained = self._generation.options("PackageSet")
        found: dict[str, Detection[pb.PackageSet]] = {}
        for key in keys:
            if key in contained:
                found[key] = Detected(pb.PackageSet(packages=attributes_of(contained[key])))
            else:
                found[key] = None
        return found

    def apply(self, change: Change[pb.PackageSet], report: Report) -> Applied:
        """See Kind."""
        raise WrongState("only a NixOS generation makes it so")

    def enumerate(self) -> Sequence[str]:
        """See Enumerable."""
        return sorted(self._generation.options("PackageSet"))

    def render(self, name: str, spec: pb.PackageSet) -> Mapping[str, JsonValue]:
        """See Renderable; refuses it beside a set that it, or that, conflicts with."""
        declared = self._declared.conflicts()
        against = {other for other in spec.conflicts if other in declared}
        against |= {other for other, conflicts in declared.items() if name in conflicts}
        if against - {name}:
            names = ", ".join(sorted(against - {name}))
            raise InvalidRequest(
                f"it can't be had beside {names}",
                [Violation("conflicts", f"{names} is declared, too: remove one")],
            )
        return system_packages(spec.packages)
