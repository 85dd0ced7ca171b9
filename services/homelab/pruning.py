"""What nobody uses. Pure: the engine's lists and what is declared in, what may go and what stays (and why) out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.homelab.drivers.base import Json
from services.homelab.inspecting import listed_labels, listed_name
from services.homelab.models import Declared, Unused
from services.homelab.references import familiar

# Networks that the engine makes itself.
_BUILT_IN = frozenset({"bridge", "host", "none", "podman", "ingress", "docker_gwbridge"})
# Steps of a replacement that was interrupted: the next Apply needs them.
_STEPS = (".nixcc-new", ".nixcc-old")
_ENDED = frozenset({"created", "exited", "dead", "configured", "stopped", "initialized"})
_DECLARED = "it is declared"


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the engine has, as it lists it; `usage` is its `/system/df`."""

    containers: Sequence[Json]
    images: Sequence[Json]
    networks: Sequence[Json]
    volumes: Sequence[Json]
    usage: Json


def unused_containers(holdings: Holdings, declared: Declared) -> Iterator[Unused]:
    """Those that have ended, or were never started."""
    sizes = {row.get("Id"): int(row.get("SizeRw") or 0) for row in holdings.usage.get("Containers") or ()}
    for row in holdings.containers:
        if str(row.get("State", "")).lower() not in _ENDED:
            continue
        name, labels = listed_name(row), listed_labels(row)
        kept = ""
        plain = name
        for step in _STEPS:
            plain = plain.removesuffix(step)
        if plain in declared.containers:
            kept = _DECLARED
        elif labels.stack in declared.stacks:
            kept = f"the stack {labels.stack} is declared"
        yield Unused("container", (name,), sizes.get(row.get("Id"), 0), kept)


def unused_images(holdings: Holdings, declared: Declared, gone: frozenset[str]) -> Iterator[Unused]:
    """Those that no container is made of; `gone` are names of containers that go, too."""
    used = {row.get("ImageID") for row in holdings.containers if listed_name(row) not in gone}
    shared = {
        row.get("Id"): int(row.get("SharedSize") or 0)
        for row in holdings.usage.get("Images") or ()
        if int(row.get("SharedSize") or 0) > 0
    }
    wanted = {familiar(reference) for reference in declared.images if reference}
    for row in holdings.images:
        identifier = str(row.get("Id", ""))
        if identifier in used:
            continue
        tags = [tag for tag in row.get("RepoTags") or () if tag != "<none>:<none>"]
        digests = [one for one in row.get("RepoDigests") or () if not one.startswith("<none>")]
        size = max(0, int(row.get("Size") or 0) - shared.get(identifier, 0))
        kept = _DECLARED if wanted & {familiar(name) for name in (*tags, *digests)} else ""
        yield Unused("image", tuple(tags or digests) or (identifier,), size, kept)


def unused_networks(holdings: Holdings, declared: Declared, gone: frozenset[str]) -> Iterator[Unused]:
    """Those that no container is in, running or not."""
    used: set[str] = set()
    for row in holdings.containers:
        if listed_name(row) not in gone:
            used.update((row.get("NetworkSettings") or {}).get("Networks") or {})
            used.update(row.get("Networks") or {} if isinstance(row.get("Networks"), dict) else ())
    for row in holdings.networks:
        name, labels = str(row.get("Name", "")), listed_labels(row)
        if name in _BUILT_IN or name in used or row.get("Containers"):
            continue
        kept = ""
        if name in declared.networks:
            kept = _DECLARED
        elif labels.stack in declared.stacks:
            kept = f"the stack {labels.stack} is declared"
        yield Unused("network", (name,), 0, kept)


def unused_volumes(holdings: Holdings, declared: Declared, gone: frozenset[str]) -> Iterator[Unused]:
    """Those that no container mounts. Data of compose projects stays, whether they are declared or not."""
    users: Counter[str] = Counter()
    leaving: Counter[str] = Counter()
    for row in holdings.containers:
        for mount in row.get("Mounts") or ():
            if isinstance(mount, Mapping) and mount.get("Name"):
                (leaving if listed_name(row) in gone else users)[str(mount["Name"])] += 1
    told: dict[str, Json] = {
        str(row.get("Name")): row.get("UsageData") or {} for row in holdings.usage.get("Volumes") or ()
    }
    for row in holdings.volumes:
        name, labels = str(row.get("Name", "")), listed_labels(row)
        # The engine's own count knows of users that its list doesn't show.
        if users[name] or int(told.get(name, {}).get("RefCount") or 0) > leaving[name]:
            continue
        kept = ""
        if name in declared.volumes:
            kept = _DECLARED
        elif labels.stack:
            kept = f"it holds data of the compose project {labels.stack}; remove it by its name if you must"
        yield Unused("volume", (name,), max(0, int(told.get(name, {}).get("Size") or 0)), kept)
