"""How a service's process runs, and is told from others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.compose import health
from services.homelab.compose.reading import Reading
from services.homelab.compose.scalars import Wrong, boolean, integer, mapping, milliseconds, pairs, string

_PULLS = {
    "always": pb.PULL_POLICY_ALWAYS,
    "never": pb.PULL_POLICY_NEVER,
    "missing": pb.PULL_POLICY_MISSING,
    "if_not_present": pb.PULL_POLICY_MISSING,
}


def pull_policy(value: Any, path: str, at: Reading) -> None:
    word = string(value)
    if word in _PULLS:
        at.found.pull = _PULLS[word]
    elif word == "build":
        at.findings.ignored(path, "images are not built here")
    elif word in ("daily", "weekly") or word.startswith("every_"):
        at.findings.ignored(path, "images are fetched when they are missing")
    else:
        raise Wrong(f"{word!r} is no policy")


def build(value: Any, path: str, at: Reading) -> None:
    at.findings.ignored(path, "images are not built here; the one under image is taken")


def environment(value: Any, path: str, at: Reading) -> None:
    for name, one in pairs(value).items():
        if not name or "\0" in name:
            raise Wrong("has a variable without a name")
        if one is not None:
            at.found.environment[name] = one


def env_file(value: Any, path: str, at: Reading) -> None:
    entries = value if isinstance(value, list) else [value]
    for index, entry in enumerate(entries):
        fields = entry if isinstance(entry, dict) else {"path": entry}
        where = f"{path}[{index}]"
        at.findings.unknown(fields, ("path", "required", "format"), where)
        if fields.get("format") is not None:
            said = "the file is read as all are: values of which nothing is replaced are in single quotes"
            at.findings.unsupported(f"{where}.format", said)
        file = string(fields.get("path"))
        if at.around.is_there(Path(file)):
            at.found.environment_files.append(file)
        elif boolean(fields.get("required", True)):
            raise Wrong(f"the file {file} is not there")
        else:
            at.findings.ignored(where, f"{file} is not there, and needn't be")


def labels(value: Any, path: str, at: Reading) -> None:
    for name, one in pairs(value).items():
        if name.startswith(("com.docker.compose.", "io.nixcc.")):
            at.findings.ignored(path, f"{name} is written by compose's tools themselves")
        else:
            at.found.labels[name] = one or ""


def healthcheck(value: Any, path: str, at: Reading) -> None:
    at.found.health_check.CopyFrom(health.health_check(value, path, at.findings))


def restart(value: Any, path: str, at: Reading) -> None:
    at.found.restart.CopyFrom(health.restart(value))


def stop_grace_period(value: Any, path: str, at: Reading) -> None:
    at.found.stop_grace = -(-milliseconds(value) // 1000)


def logging(value: Any, path: str, at: Reading) -> None:
    fields = mapping(value)
    at.findings.unknown(fields, ("driver", "options"), path)
    at.found.logging.driver = string(fields.get("driver") or "json-file")
    for name, one in pairs(fields.get("options")).items():
        at.found.logging.options[name] = one or ""


def sysctls(value: Any, path: str, at: Reading) -> None:
    for name, one in pairs(value).items():
        at.found.sysctls[name] = one or ""


def ulimits(value: Any, path: str, at: Reading) -> None:
    for name, one in mapping(value).items():
        if isinstance(one, dict):
            at.findings.unknown(one, ("soft", "hard"), f"{path}.{name}")
            at.found.ulimits[name] = f"{integer(one.get('soft'))}:{integer(one.get('hard'))}"
        else:
            at.found.ulimits[name] = str(integer(one))
