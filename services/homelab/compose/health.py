"""Health checks and restart policies."""

from __future__ import annotations

from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.compose.scalars import Wrong, boolean, integer, mapping, milliseconds, string, strings
from services.homelab.compose.verdicts import Findings

_RESTARTS = {
    "no": pb.RESTART_CONDITION_NO,
    "always": pb.RESTART_CONDITION_ALWAYS,
    "unless-stopped": pb.RESTART_CONDITION_UNLESS_STOPPED,
    "on-failure": pb.RESTART_CONDITION_ON_FAILURE,
}
# The words of restart are not in the specification here, but meant by many, and taken by compose.
_DEPLOYED = {**_RESTARTS, "none": pb.RESTART_CONDITION_NO, "any": pb.RESTART_CONDITION_ALWAYS}


def health_check(value: Any, path: str, findings: Findings) -> pb.HealthCheck:
    """`healthcheck:`; Wrong."""
    found = pb.HealthCheck()
    fields = mapping(value)
    for key, one in fields.items():
        if key == "test":
            _test(one, f"{path}.test", found, findings)
        elif key == "disable":
            found.disabled = boolean(one)
        elif key in ("interval", "timeout", "start_period"):
            setattr(found, key, milliseconds(one))
        elif key == "retries":
            found.retries = integer(one)
        elif key == "start_interval":
            findings.ignored(f"{path}.start_interval", "checks come at the usual interval from the start")
        elif not key.startswith("x-"):
            findings.unsupported(f"{path}.{key}", "compose knows no such field of a health check")
    if found.disabled:
        return pb.HealthCheck(disabled=True)
    found.ClearField("disabled")
    return found


def _test(value: Any, path: str, found: pb.HealthCheck, findings: Findings) -> None:
    words = strings(value)
    if isinstance(value, str):
        found.command.append(value)
        return
    sort, rest = words[:1], words[1:]
    if sort == ["NONE"]:
        found.disabled = True
    elif sort in (["CMD"], ["CMD-SHELL"]) and not rest:
        raise Wrong(f"test needs a command behind {sort[0]}")
    elif sort == ["CMD-SHELL"] and len(rest) > 1:
        findings.ignored(path, f"of a list behind CMD-SHELL the shell runs the first alone: {rest[0]!r}")
        found.command.append(rest[0])
    elif sort in (["CMD"], ["CMD-SHELL"]):
        found.command.extend(rest)
        if sort == ["CMD"] and len(rest) == 1:
            found.no_shell = True
    elif sort:
        said = "the engine runs no check that begins with neither CMD nor CMD-SHELL: put one of them first"
        findings.ignored(path, said)
        found.disabled = True


def restart(value: Any) -> pb.Restart:
    """`restart:`; Wrong."""
    # YAML 1.1 made false of an unquoted no.
    text = "no" if value is False else string(value)
    word, mark, count = text.partition(":")
    if word not in _RESTARTS or (mark and word != "on-failure"):
        raise Wrong(f"{text!r} is none of no, always, on-failure[:N], unless-stopped")
    found = pb.Restart(condition=_RESTARTS[word])
    if mark:
        found.maximum_retries = integer(count)
    return found


def restart_policy(value: Any, path: str, findings: Findings) -> pb.Restart:
    """`deploy.restart_policy:`; Wrong."""
    fields = mapping(value)
    word = string(fields.get("condition") or "any")
    if word not in _DEPLOYED:
        raise Wrong(f"condition {word!r} is none of {', '.join(_DEPLOYED)}")
    found = pb.Restart(condition=_DEPLOYED[word])
    findings.unknown(fields, ("condition", "delay", "max_attempts", "window"), path)
    for key in fields:
        if key in ("delay", "window"):
            findings.ignored(f"{path}.{key}", "the engine has its own pauses between starts")
        elif key == "max_attempts" and word != "on-failure":
            findings.ignored(f"{path}.{key}", "counts with on-failure only")
    if fields.get("max_attempts") is not None and word == "on-failure":
        found.maximum_retries = integer(fields["max_attempts"])
    return found
