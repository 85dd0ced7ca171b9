"""A container is replaced for its tag's newer image: the tag leads there, and back again where that is no good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import ControlError, HostUnavailable, NotFound
from common.failpoints import hit
from services.homelab.drivers.base import Engine, Json
from services.homelab.image_updates.records import UpdateRecords


@contextmanager
def updated(engine: Engine, records: UpdateRecords, name: str, image: str, inspected: Json) -> Iterator[None]:
    """Around a replacement; where no update is under way it does nothing.

    What fails because of the new image is remembered, so that it isn't tried again until the registry has another.
    """
    update = records.pending(name, image, str(inspected.get("Image", "")))
    if update is None:
        yield
        return
    try:
        engine.images.tag(update.new, image)
    except NotFound:
        # Removed meanwhile: whatever the tag leads to now is taken.
        records.done(name)
    try:
        yield
    except ControlError as error:
        if not isinstance(error, HostUnavailable) and not isinstance(error.__cause__, HostUnavailable):
            # Whoever makes it anew, say after it was removed, gets the one that is known to be good.
            engine.images.tag(update.old, image)
            hit("homelab.update_refused")
            records.refuse(name, error.message)
        raise
    records.done(name)
