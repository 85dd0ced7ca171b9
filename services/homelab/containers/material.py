"""What a container is made from beside its spec, gathered before anything is touched."""

from __future__ import annotations

import re
import secrets as random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from common.errors import ControlError, Forbidden, InvalidRequest, Violation
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.compose.environment import Wrong, parse
from services.homelab.containers import spec_label
from services.homelab.containers.creation import Material
from services.homelab.drivers import host_files

_SECCOMP = "seccomp="
# File systems whose device is no path of this host.
_REMOTE = ("nfs", "nfs4", "cifs", "smb3")
_WORDS = re.compile(r"[,=:]")


class Materials:
    """Reads the host's files. `allowed`: folders that they must lie in; none: anywhere.

    `files`: where files lie that stacks hold themselves; these are always allowed.
    """

    def __init__(
        self, allowed: Sequence[Path] = (), files: Path = Path("/var/lib/nixcc/homelab/stacks")
    ) -> None:
        self._allowed = allowed
        self.files = files

    def outside(self, spec: pb.Container) -> Sequence[Violation]:
        """Paths that are not allowed, as they are written."""
        return self.outside_of(paths(spec))

    def outside_of(self, rows: Iterable[tuple[str, str]]) -> Sequence[Violation]:
        """Those of these fields and paths that are not allowed."""
        return [
            Violation(field, f"is not in {self._folders()}")
            for field, path in rows
            if self._allowed and not host_files.within(path, [*self._allowed, self.files])
        ]

    def require(self, rows: Iterable[tuple[str, str]]) -> None:
        """Forbidden for the first that is not allowed: a link may lead elsewhere than when the spec was checked."""
        for violation in self.outside_of(rows):
            raise Forbidden(f"{violation.field} {violation.description}", next_step="choose a path that is")

    def gather(self, spec: pb.Container, volumes: Mapping[str, str]) -> Material:
        """All of it; raises where a file is missing or not allowed. Makes the folders that are asked for."""
        self.require(paths(spec))
        for mount in spec.mounts:
            if mount.type == pb.MOUNT_TYPE_BIND:
                if mount.create_source:
                    host_files.make_folder(mount.source)
                else:
                    host_files.require(mount.source, "what is mounted,")
        for secret in spec.secrets:
            host_files.require(secret.file, f"the secret {secret.name},")
        contents = [host_files.read(path, "the file of variables") for path in spec.environment_files]
        environment: dict[str, str] = {}
        for path, content in zip(spec.environment_files, contents, strict=True):
            environment.update(_variables(content, path, environment))
        profiles = {
            path: host_files.read(path, "the seccomp profile").decode(errors="replace")
            for path in _profiles(spec)
        }
        digest = spec_label.digest(contents, random.token_hex(8)) if contents else ""
        return Material(environment, digest, profiles, volumes)

    def is_stale(self, spec: pb.Container, labels: Mapping[str, str]) -> bool:
        """Whether its files of variables changed since; False where they can't be read now."""
        label = labels.get(spec_label.FILES)
        if not label:
            return False
        try:
            contents = [host_files.read(path, "the file of variables") for path in spec.environment_files]
        except ControlError:
            return False
        return not spec_label.matches(label, contents)

    def _folders(self) -> str:
        return " or ".join(str(folder) for folder in self._allowed)


def _variables(content: bytes, path: str, given: Mapping[str, str]) -> Mapping[str, str]:
    """As compose reads them: quotes, comments, values of variables that are set before. Names no values."""
    try:
        return parse(content.decode(), given, secret=True)
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is no text", next_step="name a file of NAME=value lines") from None
    except Wrong as error:
        raise InvalidRequest(f"{path}: {error}", next_step="correct the line, or comment it out") from None


def paths(spec: pb.Container) -> Iterator[tuple[str, str]]:
    """Paths of the host that a container gets at: field and path."""
    for index, mount in enumerate(spec.mounts):
        if mount.type == pb.MOUNT_TYPE_BIND:
            yield f"mounts[{index}].source", mount.source
    for index, secret in enumerate(spec.secrets):
        yield f"secrets[{index}].file", secret.file
    for index, path in enumerate(spec.environment_files):
        yield f"environment_files[{index}]", path
    for index, option in enumerate(spec.security_options):
        if option.startswith(f"{_SECCOMP}/"):
            yield f"security_options[{index}]", option.removeprefix(_SECCOMP)


def volume_paths(spec: pb.ContainerVolume) -> Iterator[tuple[str, str]]:
    """Paths of the host that a volume's options lead to: bound folders, devices, layers, files of credentials."""
    for name, text in sorted(spec.options.items()):
        if name == "device" and spec.options.get("type", "") in _REMOTE:
            continue
        for word in _WORDS.split(text):
            if word.startswith("/"):
                yield f"options[{name}]", word


def image_paths(spec: pb.Image) -> Iterator[tuple[str, str]]:
    """Files of the host that an image is made of."""
    for field, path in (("archive", spec.archive), ("rootfs", spec.rootfs)):
        if path:
            yield field, path


def _profiles(spec: pb.Container) -> Iterator[str]:
    for option in spec.security_options:
        if option.startswith(f"{_SECCOMP}/"):
            yield option.removeprefix(_SECCOMP)
