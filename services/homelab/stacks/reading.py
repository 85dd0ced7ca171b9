"""A Stack's compose file, read from the spec or from the host."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.errors import ControlError, InvalidRequest, NotFound, Violation
from nixcc.homelab.v1 import stack_pb2 as pb
from services.homelab.compose.plan import StackPlan, plan
from services.homelab.compose.verdicts import Verdict
from services.homelab.containers.material import Materials, volume_paths
from services.homelab.containers.normalisation import check, no_updates, normalise
from services.homelab.drivers import host_files

_NOT_A_NAME = re.compile(r"[^a-z0-9_-]+")


def fill(name: str, spec: pb.Stack, materials: Materials) -> Sequence[Violation]:
    """Reads the compose file into the spec's containers, networks and volumes; what is wrong."""
    if spec.HasField("compose") == spec.HasField("compose_file"):
        return [Violation("compose", "either compose or compose_file must be given")]
    where = "compose" if spec.HasField("compose") else "compose_file"
    file = f"{spec.compose_file}: " if spec.compose_file else ""
    try:
        found = _planned(name, spec, materials.files)
    except InvalidRequest as error:
        return [Violation(where, file + _said(violation)) for violation in error.violations]
    except ControlError as error:
        return [Violation(where, error.message)]
    wrong = [
        Violation(where, f"{file}{field.path}: {field.reason}")
        for field in found.fields
        if field.verdict is Verdict.UNSUPPORTED
    ]
    put(found, spec)
    for container in spec.containers:
        faults = [*check(container.name, container.spec)]
        if not faults:
            normalise(container.spec)
            faults = [*materials.outside(container.spec)]
        wrong += [Violation(where, f"{file}services.{container.service}: {_said(one)}") for one in faults]
        container.spec.running = spec.running if spec.HasField("running") else True
        if spec.update and not no_updates(container.spec):
            container.spec.update = spec.update
    for volume in spec.volumes:
        faults = [*materials.outside_of(volume_paths(volume.spec))]
        wrong += [Violation(where, f"volumes.{volume.name}: {_said(one)}") for one in faults]
    return wrong


def put(found: StackPlan, spec: pb.Stack) -> None:
    """A plan's parts in a spec; those that somebody else makes are left out."""
    for field, parts in (
        ("containers", found.containers),
        ("networks", [one for one in found.networks if one.HasField("spec")]),
        ("volumes", [one for one in found.volumes if one.HasField("spec")]),
        ("files", found.files),
    ):
        spec.ClearField(field)  # type: ignore[arg-type]
        getattr(spec, field).extend(parts)


def plan_text(
    text: str,
    *,
    name: str,
    directory: str,
    variables: Mapping[str, str],
    profiles: Sequence[str],
    environment_files: Sequence[str],
    keep_in: Path,
) -> StackPlan:
    """What a compose file means, and the files that it holds below `keep_in`; InvalidRequest."""
    if not os.path.isabs(directory):
        raise InvalidRequest(
            "where relative paths of the compose file begin must be told",
            [Violation("project_directory", "must be an absolute path")],
            next_step="name the folder of the compose file",
        )
    return plan(
        text,
        name=name or _NOT_A_NAME.sub("", Path(directory).name.lower()).lstrip("_-") or "stack",
        directory=Path(directory),
        variables=variables,
        profiles=profiles,
        environment_files=[Path(one) for one in environment_files] or None,
        read=_read,
        keep_in=keep_in,
    )


def _planned(name: str, spec: pb.Stack, keep_in: Path) -> StackPlan:
    if spec.HasField("compose"):
        text, folder = spec.compose, "/"
    else:
        content = host_files.read(spec.compose_file, "the compose file")
        text, folder = content.decode(errors="replace"), str(Path(spec.compose_file).parent)
    return plan_text(
        text,
        name=name,
        directory=spec.project_directory or folder,
        variables=spec.variables,
        profiles=spec.profiles,
        environment_files=spec.environment_files,
        keep_in=keep_in,
    )


def _read(path: Path) -> bytes | None:
    try:
        return host_files.read(str(path), "the file")
    except NotFound:
        return None


def _said(violation: Violation) -> str:
    return f"{violation.field}: {violation.description}" if violation.field else violation.description
