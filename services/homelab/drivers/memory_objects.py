"""Images, networks and volumes of the engine in memory."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from common.errors import AlreadyExists, HostUnavailable, NotFound, WrongState
from services.homelab.containers.image_names import short
from services.homelab.drivers.base import Json, Report


class Tell(Protocol):
    """Tells an event."""

    def __call__(self, sort: str, action: str, identifier: str, name: str, **attributes: str) -> None:
        """See MemoryEngine.tell."""


def identifier(*words: object) -> str:
    """One that looks like the engine's."""
    return hashlib.sha256(repr(words).encode()).hexdigest()


class MemoryImages:
    """See Images. `registry` holds what a pull finds: the image's configuration by reference."""

    def __init__(self, lock: threading.RLock, tell: Tell) -> None:
        self._lock, self._tell = lock, tell
        self._images: dict[str, Json] = {}
        self._tags: dict[str, str] = {}
        self.registry: dict[str, Json] = {}
        # Who is made of an image, told by the containers.
        self.users: Callable[[str], Sequence[str]] = lambda _: ()

    def list(self) -> Sequence[Json]:
        """See Images."""
        with self._lock:
            return [{**image, "RepoTags": self._names(one)} for one, image in self._images.items()]

    def inspect(self, reference: str) -> Json | None:
        """See Images."""
        with self._lock:
            key = reference if reference in self._images else self._tags.get(short(reference), "")
            image = self._images.get(key)
            return None if image is None else {**image, "RepoTags": self._names(key)}

    def add(self, reference: str, config: Json, digest: str = "") -> str:
        """Puts an image there; its id."""
        with self._lock:
            key = f"sha256:{identifier(reference, config)}"
            digests = [f"{reference.rpartition(':')[0]}@{digest}"] if digest else []
            self._images[key] = {"Id": key, "Config": dict(config), "RepoDigests": digests, "Size": 0}
            self._tags[short(reference)] = key
        self._tell("image", "tag", key, reference)
        return key

    def pull(
        self,
        reference: str,
        report: Report,
        *,
        credentials_file: Path | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        """See Images."""
        self.add(reference, self._found(reference), self.registry_digest(reference))
        self._tell("image", "pull", reference, reference)

    def load(self, archive: Path, report: Report, wanted: str = "") -> Sequence[str]:
        """See Images: the archive's name is the image's."""
        if not archive.is_file():
            raise NotFound(f"there is no file {archive}")
        reference = f"{archive.stem}:latest"
        if wanted and short(wanted) != reference:
            raise NotFound(f"{archive} holds {reference}, not {wanted}")
        self.add(reference, {})
        return [reference]

    def import_rootfs(self, archive: Path, reference: str, command: Sequence[str], report: Report) -> None:
        """See Images."""
        if not archive.is_file():
            raise NotFound(f"there is no file {archive}")
        self.add(reference, {"Cmd": [*command]})

    def remove(self, reference: str) -> None:
        """See Images."""
        with self._lock:
            key = reference if reference in self._images else self._tags.get(short(reference), "")
            if not key:
                return
            names = {*self._names(key)}
            going = names if reference == key else {short(reference)}
            if names <= going and (users := self.users(key)):
                raise WrongState(
                    f"the image {reference} is used by {', '.join(users)}", next_step="remove those first"
                )
            for name in going:
                del self._tags[name]
            if names <= going:
                del self._images[key]
        self._tell("image", "delete" if names <= going else "untag", key, reference)

    def tag(self, image: str, reference: str) -> None:
        """See Images."""
        with self._lock:
            found = self.inspect(image)
            if found is None:
                raise NotFound(f"there is no image {image}")
            self._tags[short(reference)] = str(found["Id"])

    def registry_digest(self, reference: str, *, credentials_file: Path | None = None) -> str:
        """See Images."""
        return f"sha256:{identifier(reference, self._found(reference))}"

    def _found(self, reference: str) -> Json:
        if not self.registry:
            raise HostUnavailable("an engine in memory reaches no registry", next_step="load an image")
        if reference not in self.registry:
            raise NotFound(f"the registry has no {reference}", next_step="check the name and the tag")
        return self.registry[reference]

    def _names(self, key: str) -> Sequence[str]:
        return sorted(name for name, one in self._tags.items() if one == key)


class MemoryNetworks:
    """See Networks."""

    def __init__(self, lock: threading.RLock, tell: Tell) -> None:
        self._lock, self._tell = lock, tell
        self._networks: dict[str, Json] = {
            name: {"Name": name, "Id": identifier("network", name), "Driver": driver, "Labels": {}}
            for name, driver in (("none", "null"), ("host", "host"), ("bridge", "bridge"))
        }
        # Who is in a network, told by the containers.
        self.members: Callable[[str], Sequence[str]] = lambda _: ()

    def list(self) -> Sequence[Json]:
        """See Networks."""
        with self._lock:
            return [{**row} for row in self._networks.values()]

    def inspect(self, name: str) -> Json | None:
        """See Networks."""
        with self._lock:
            found = self._networks.get(name)
            members = {one: {"Name": one} for one in self.members(name)}
            return None if found is None else {**found, "Containers": members}

    def create(self, name: str, body: Json) -> None:
        """See Networks."""
        with self._lock:
            if name in self._networks:
                raise AlreadyExists(f"there is a network {name} already")
            base = {"Driver": "bridge", "Internal": False, "EnableIPv6": False, "Attachable": False}
            told = {"Labels": {}, "Options": {}, "IPAM": {"Config": []}, "Scope": "local"}
            self._networks[name] = {**base, **told, **body, "Name": name, "Id": identifier("network", name)}
        self._tell("network", "create", name, name)

    def remove(self, name: str) -> None:
        """See Networks."""
        with self._lock:
            if name in self._networks and (members := self.members(name)):
                raise WrongState(f"the network {name} is used by {', '.join(members)}")
            gone = self._networks.pop(name, None)
        if gone is not None:
            self._tell("network", "destroy", name, name)


class MemoryVolumes:
    """See Volumes."""

    def __init__(self, lock: threading.RLock, tell: Tell) -> None:
        self._lock, self._tell = lock, tell
        self._volumes: dict[str, Json] = {}
        # Who uses a volume, told by the containers.
        self.users: Callable[[str], Sequence[str]] = lambda _: ()

    def list(self) -> Sequence[Json]:
        """See Volumes."""
        with self._lock:
            return [{**row} for row in self._volumes.values()]

    def inspect(self, name: str) -> Json | None:
        """See Volumes."""
        with self._lock:
            found = self._volumes.get(name)
            return None if found is None else {**found}

    def create(self, name: str, body: Json) -> None:
        """See Volumes."""
        with self._lock:
            if name in self._volumes:
                return
            options = {"Options": body.get("DriverOpts") or None}
            base = {"Driver": "local", "Labels": {}, "Scope": "local", "Mountpoint": f"/memory/{name}"}
            self._volumes[name] = {**base, **body, **options, "Name": name}
        self._tell("volume", "create", name, name)

    def remove(self, name: str) -> None:
        """See Volumes."""
        with self._lock:
            if users := self.users(name):
                raise WrongState(f"the volume {name} is used by {', '.join(users)}")
            gone = self._volumes.pop(name, None)
        if gone is not None:
            self._tell("volume", "destroy", name, name)
