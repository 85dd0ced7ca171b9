"""Whether the tags that containers were made from lead to other images now."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from common.errors import Cancelled, ControlError
from services.homelab.drivers.base import Engine, Json, Report
from services.homelab.models import ImageUpdate
from services.homelab.references import digest_of

# Registries asked at once.
_AT_ONCE = 4
_NONE: Mapping[str, Path] = {}
_IDENTIFIER = re.compile(r"(sha256:)?[0-9a-f]{12,64}")


def check(
    engine: Engine,
    inspected: Sequence[Json],
    report: Report,
    cancel: threading.Event,
    credentials: Mapping[str, Path] = _NONE,
) -> Sequence[ImageUpdate]:
    """One a container, by name. Each image is asked for once; a registry that fails is told for its images alone.

    `credentials`: files with those for a container's registry, by the container's name.
    """
    by_image: dict[str, list[Json]] = {}
    for container in inspected:
        by_image.setdefault(str((container.get("Config") or {}).get("Image", "")), []).append(container)
    available: dict[str, str] = {}
    errors: dict[str, str] = {}
    asked = [image for image in by_image if _why_not(image) is None and "@" not in image]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="homelab-updates") as pool:
        waiting = {
            pool.submit(
                engine.images.registry_digest,
                image,
                credentials_file=_credentials(by_image[image], credentials),
            ): image
            for image in asked
        }
        for number, done in enumerate(as_completed(waiting), 1):
            if cancel.is_set():
                pool.shutdown(wait=False, cancel_futures=True)
                raise Cancelled("nobody waits for the answer any longer")
            image = waiting[done]
            report(f"asked for {image}", 100 * number // len(asked))
            try:
                available[image] = done.result()
            except ControlError as error:
                errors[image] = str(error)
    found = []
    for image, containers in by_image.items():
        for container in containers:
            found.append(
                _update(
                    engine, _name(container), image, container, available.get(image, ""), errors.get(image)
                )
            )
    return sorted(found, key=lambda update: update.container)


def _update(
    engine: Engine, name: str, image: str, container: Json, available: str, error: str | None
) -> ImageUpdate:
    if reason := _why_not(image):
        return ImageUpdate(name, image, error=reason)
    inspected = engine.images.inspect(str(container.get("Image", "")))
    digests = list((inspected or {}).get("RepoDigests") or ())
    # One image may have several, for several platforms or not.
    same = available and any(one.endswith(f"@{available}") for one in digests)
    running = available if same else digest_of(digests, image)
    if "@" in image:
        digest = image.partition("@")[2]
        return ImageUpdate(name, image, running or digest, digest, pinned=True)
    if not running:
        # One built here may be called like one that somebody else has put into a registry.
        why = "the image was not fetched from a registry, or its name was given to it here"
        error = f"{why}; {error}" if error else why
    return ImageUpdate(name, image, running, available, error=error or "")


def _name(container: Json) -> str:
    return str(container.get("Name", "")).removeprefix("/")


def _credentials(containers: Sequence[Json], known: Mapping[str, Path]) -> Path | None:
    return next((known[name] for name in map(_name, containers) if name in known), None)


def _why_not(image: str) -> str | None:
    """Why no registry can be asked; None: one can."""
    if not image or _IDENTIFIER.fullmatch(image):
        return "it was made from an image without a name"
    return None
