"""What a service waits for, and the order that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nixcc.homelab.v1 import stack_pb2 as pb
from services.homelab.compose.scalars import Wrong, boolean, mapping, string, strings
from services.homelab.compose.verdicts import Findings

_CONDITIONS = {
    "service_started": pb.DEPENDENCY_CONDITION_STARTED,
    "service_healthy": pb.DEPENDENCY_CONDITION_HEALTHY,
    "service_completed_successfully": pb.DEPENDENCY_CONDITION_COMPLETED,
}


def dependencies(
    name: str, service: Mapping[str, Any], known: frozenset[str], findings: Findings
) -> list[pb.StackDependency]:
    """Of one service, each other named once."""
    found: dict[str, pb.StackDependency] = {}
    try:
        _explicit(name, service.get("depends_on"), found, findings)
    except Wrong as error:
        findings.fault(f"services.{name}.depends_on", str(error))
    for other in _implied(name, service, findings):
        found.setdefault(
            other,
            pb.StackDependency(service=other, condition=pb.DEPENDENCY_CONDITION_STARTED, required=True),
        )
    for other in list(found):
        if other in known:
            continue
        if found[other].required:
            path = f"services.{name}.depends_on"
            findings.fault(path, f"there is no service {other}, or its profile is not chosen")
        else:
            findings.ignored(f"services.{name}.depends_on.{other}", "it is not there, and needn't be")
        del found[other]
    return list(found.values())


def _explicit(name: str, value: Any, found: dict[str, pb.StackDependency], findings: Findings) -> None:
    if value is None:
        return
    entries = value if isinstance(value, dict) else dict.fromkeys(strings(value))
    for other, options in entries.items():
        if not isinstance(options, dict | None):
            raise Wrong(f"{other} must be a mapping with condition")
        fields = mapping(options)
        where = f"services.{name}.depends_on.{other}"
        findings.unknown(fields, ("condition", "restart", "required"), where)
        word = string(fields.get("condition") or "service_started")
        if word not in _CONDITIONS:
            raise Wrong(f"the condition {word!r} is none of {', '.join(_CONDITIONS)}")
        one = pb.StackDependency(service=other, condition=_CONDITIONS[word])
        one.required = boolean(fields.get("required", True))
        if boolean(fields.get("restart", False)):
            one.restart = True
        found[other] = one
    findings.taken(f"services.{name}.depends_on")


def _implied(name: str, service: Mapping[str, Any], findings: Findings) -> Sequence[str]:
    found = []
    try:
        for link in strings(service.get("links")):
            found.append(link.partition(":")[0])
            findings.taken(f"services.{name}.links")
    except Wrong as error:
        findings.fault(f"services.{name}.links", str(error))
    for key in ("network_mode", "pid", "ipc"):
        mode = service.get(key)
        if isinstance(mode, str) and mode.startswith("service:"):
            found.append(mode.removeprefix("service:"))
    return found


def ordered(waits: Mapping[str, Sequence[str]], findings: Findings) -> list[str]:
    """Each behind what it waits for; a circle is a fault that names it."""
    found: list[str] = []
    done: set[str] = set()
    for start in waits:
        trail: list[str] = []
        stack: list[tuple[str, int]] = [(start, 0)]
        while stack:
            name, index = stack.pop()
            if index == 0:
                if name in done:
                    continue
                if name in trail:
                    circle = " → ".join([*trail[trail.index(name) :], name])
                    findings.fault(f"services.{name}.depends_on", f"services wait for one another: {circle}")
                    done.add(name)
                    continue
                trail.append(name)
            others = waits.get(name, ())
            if index < len(others):
                stack += [(name, index + 1), (others[index], 0)]
                continue
            if name in trail:
                trail.remove(name)
            if name not in done:
                done.add(name)
                found.append(name)
    return found
