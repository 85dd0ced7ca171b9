"""Which old generations go."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from services.system.generation.models import Generation


def kept(generations: Sequence[Generation]) -> Mapping[int, str]:
    """Numbers that must stay whatever is asked, and why. Newest first in, as listed."""
    found: dict[int, str] = {}
    current = next((one.number for one in generations if one.current), 0)
    earlier = [one.number for one in generations if one.number < current]
    if earlier:
        found[max(earlier)] = "it is the one before the profile's own: a roll-back needs it"
    for one in generations:
        if one.current:
            found[one.number] = "the profile stands at it"
        elif one.running:
            found[one.number] = "it runs"
        elif one.booted:
            found[one.number] = "the host was started with it"
    return found


def select(
    generations: Sequence[Generation],
    *,
    now: float,
    numbers: Collection[int] = (),
    keep: int | None = None,
    max_age: float | None = None,
) -> tuple[list[int], dict[int, str]]:
    """Numbers to delete, sorted, and those that were named and stay. Every condition given must hold.

    Without any condition nothing goes.
    """
    stay = kept(generations)
    newest = sorted((one.number for one in generations), reverse=True)[: keep or 0]
    gone, refused = [], {}
    for one in sorted(generations, key=lambda each: each.number):
        if numbers and one.number not in numbers:
            continue
        if not numbers and keep is None and max_age is None:
            continue
        if keep is not None and one.number in newest:
            continue
        if max_age is not None and now - one.made <= max_age:
            continue
        if one.number in stay:
            if numbers:
                refused[one.number] = stay[one.number]
            continue
        gone.append(one.number)
    known = {one.number for one in generations}
    refused.update((number, "there is no such generation") for number in numbers if number not in known)
    return gone, refused


def beyond(
    generations: Sequence[Generation], *, now: float, keep: int | None, max_age: float | None
) -> list[int]:
    """Numbers that a retention policy lets go: past the newest `keep`, or older than `max_age`."""
    gone: set[int] = set()
    if keep is not None:
        gone.update(select(generations, now=now, keep=keep)[0])
    if max_age is not None:
        gone.update(select(generations, now=now, max_age=max_age)[0])
    return sorted(gone)
