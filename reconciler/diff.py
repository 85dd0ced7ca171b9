"""The one comparison of what is desired with what was detected: behind plan, dry run, drift and apply. Pure.

Both sides are the same message type; the options in options.proto say the rest:

- scalars and messages compare when present in desired; of a oneof the member that is set;
- lists and maps compare exactly, empty meaning none; one that may stay unmanaged is wrapped in a message;
- an ordered list by position, a set without position and repetition, a keyed list by its elements' key;
- a write-only field by the digest that came beside the detected spec;
- a string that holds JSON by its value, each path in which objects differ told on its own;
- ignored fields and the policy's ignored paths not at all.

Messages of google.protobuf (Duration, Struct …) are single values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from google.protobuf.message import Message

from common import digests as write_only
from common.fieldpath import at, join
from common.schema import FieldSpec, Shape, SpecType
from common.spec_json import MASK, dump, element_to_json, field_to_json, key_text
from nixcc.resource.v1 import options_pb2
from reconciler import json_diff, pathset
from reconciler.pathset import Paths

_NOTHING: Mapping[str, bytes] = {}
_LISTED_TYPES = 4096  # compiled plans kept; SpecType keeps as many


@dataclass(frozen=True, slots=True)
class FieldDiff:
    """One field that differs, as in FieldChange: JSON texts, empty for nothing, masked where sensitive."""

    path: str
    desired: str
    detected: str
    replace: bool = False
    pending: bool = False


def diff(
    desired: Message,
    detected: Message | None,
    *,
    digests: Mapping[str, bytes] = _NOTHING,
    ignored: Sequence[str] = (),
    pending: Iterable[str] = (),
) -> list[FieldDiff]:
    """Every field in which the host differs, in the proto's order; empty: it is as desired.

    `detected` None: the object does not exist, so all that is desired differs. `ignored` and `pending` are
    dotted paths and stand for what is below them too; pending differences are flagged, not left out.
    TypeError where the two are of different types, ValueError where an ignored path can't be read.
    """
    if detected is None:
        detected = type(desired)()
    elif desired.DESCRIPTOR is not detected.DESCRIPTOR:
        raise TypeError(f"can't compare {desired.DESCRIPTOR.full_name} with {detected.DESCRIPTOR.full_name}")
    out = _Output(digests, [])
    place = _ROOT if not ignored else _ROOT._replace(ignored=pathset.tree(tuple(ignored)))
    _compare(desired, detected, place, out)
    found = out.found
    if found and pending:
        waiting = tuple(pending)
        found = [replace(d, pending=True) if pathset.contains(waiting, d.path) else d for d in found]
    return found


def equal(
    desired: Message,
    detected: Message | None,
    *,
    digests: Mapping[str, bytes] = _NOTHING,
    ignored: Sequence[str] = (),
) -> bool:
    """Whether nothing differs: as `diff` would say."""
    return not diff(desired, detected, digests=digests, ignored=ignored)


def dropped_fields(old: Message, new: Message) -> list[str]:
    """Paths of fields that `old` sets and `new` no longer does: they become unmanaged.

    List elements and map entries that went are not among them: lists and maps compare exactly, so those are
    removed from the host.
    """
    found: list[str] = []
    _dropped(old, new, "", found)
    return found


# How a field is compared. Plain integers: this is the hot path.
_SCALAR, _IMPLICIT, _MESSAGE, _LIST, _SET, _MESSAGES, _KEYED, _MAP, _WRITE_ONLY, _JSON = range(10)


class _Output(NamedTuple):
    """What the comparison looks digests up in and where it puts what differs."""

    digests: Mapping[str, bytes]
    found: list[FieldDiff]

    def add(self, place: _Place, want: str, have: str) -> None:
        self.found.append(FieldDiff(place.path, want, have, place.replace))


class _Place(NamedTuple):
    """Where the comparison is: path, the ignored paths that may still match below, inherited rules."""

    path: str
    ignored: tuple[Paths, ...] | None
    replace: bool
    secret: bool

    def field(self, field: FieldSpec) -> _Place:
        rules = field.rules
        below = None if self.ignored is None else pathset.field_below(self.ignored, field.name)
        identity = field.descriptor.containing_type
        is_identity = SpecType.of(identity).kind.identity_field == field.name
        return _Place(
            join(self.path, field.name),
            below or None,
            self.replace or rules.replace or is_identity,
            self.secret or rules.sensitive,
        )

    def element(self, text: str | int) -> _Place:
        below = None if self.ignored is None else pathset.element_below(self.ignored, str(text))
        return self._replace(path=at(self.path, text), ignored=below or None)

    @property
    def is_ignored(self) -> bool:
        return self.ignored is not None and any(paths.whole for paths in self.ignored)


# Code, name, field, and whether equal messages need no closer look (there are no digests below).
_Planned = tuple[int, str, FieldSpec, bool]
_ROOT = _Place("", None, False, False)
_plans: dict[Any, tuple[_Planned, ...]] = {}


def _plan(descriptor: Any) -> tuple[_Planned, ...]:
    found = _plans.get(descriptor)
    if found is None:
        if len(_plans) > _LISTED_TYPES:
            _plans.clear()
        fields = SpecType.of(descriptor).fields
        found = tuple((_code(f), f.name, f, not _holds_digests(f)) for f in fields if not f.rules.ignore)
        _plans[descriptor] = found
    return found


def _is_tree(field: FieldSpec) -> bool:
    """Whether the field's values are messages to descend into."""
    return field.message is not None and not field.message.is_well_known


def _holds_digests(field: FieldSpec) -> bool:
    return field.message is not None and field.message.has_write_only


def _code(field: FieldSpec) -> int:
    if field.rules.write_only:
        return _WRITE_ONLY
    if field.shape is Shape.MAP:
        return _MAP
    if field.shape is Shape.LIST:
        if field.list_rule == options_pb2.LIST_RULE_SET:
            return _SET
        if field.list_rule == options_pb2.LIST_RULE_KEYED:
            return _KEYED
        return _MESSAGES if _is_tree(field) else _LIST
    if _is_tree(field):
        return _MESSAGE
    if field.rules.json and field.presence:
        return _JSON
    return _SCALAR if field.presence else _IMPLICIT


def _compare(desired: Any, detected: Any, place: _Place, out: _Output) -> None:
    is_set = desired.HasField
    ignored = place.ignored
    for code, name, field, plain in _plan(desired.DESCRIPTOR):
        if ignored is not None and place.field(field).is_ignored:
            continue
        if code == _SCALAR:
            if is_set(name):
                value = getattr(desired, name)
                if value != getattr(detected, name) or (not value and not detected.HasField(name)):
                    _report(desired, detected, field, place, out)
            continue
        if code == _JSON:
            if is_set(name):
                _compare_json(desired, detected, field, place, out)
            continue
        if code == _WRITE_ONLY:
            _compare_digest(desired, field, place.field(field), out)
            continue
        if code == _MESSAGE:
            if not is_set(name):
                continue
            if not detected.HasField(name):
                _report(desired, detected, field, place, out)
                continue
        want, have = getattr(desired, name), getattr(detected, name)
        if plain and want == have:
            continue
        if code == _MESSAGE:
            _compare(want, have, place.field(field), out)
        elif code == _IMPLICIT:
            _report(desired, detected, field, place, out)
        else:
            _COLLECTIONS[code](want, have, field, place.field(field), out)


def _compare_json(desired: Any, detected: Any, field: FieldSpec, outer: _Place, out: _Output) -> None:
    place = outer.field(field)
    want, have = getattr(desired, field.name), getattr(detected, field.name)
    if want == have and detected.HasField(field.name):
        return
    found = None if place.secret or not have else json_diff.changes(want, have, place.path, place.ignored)
    if found is None:
        _report(desired, detected, field, outer, out)
        return
    for path, mine, theirs in found:
        out.add(place._replace(path=path), mine, theirs)


def _compare_list(want: Any, have: Any, field: FieldSpec, place: _Place, out: _Output) -> None:
    if place.ignored is not None:
        longer = max(len(want), len(have))
        spots = [i for i in range(longer) if not place.element(i).is_ignored]
        if all(i < len(want) and i < len(have) and want[i] == have[i] for i in spots):
            return
    _add(field, want, have, place, out)


def _compare_set(want: Any, have: Any, field: FieldSpec, place: _Place, out: _Output) -> None:
    if _is_tree(field):
        same = _same_messages(want, have, place, out)
    elif field.message is not None:
        same = all(any(w == h for h in have) for w in want) and all(any(w == h for w in want) for h in have)
    elif place.ignored is None:
        same = set(want) == set(have)
    else:
        same = all(place.element(key_text(value)).is_ignored for value in set(want) ^ set(have))
    if not same:
        _add(field, want, have, place, out)


def _same_messages(want: Any, have: Any, place: _Place, out: _Output) -> bool:
    """Each desired element is met by a detected one, and each detected one meets a desired one."""
    inside = place._replace(
        ignored=None if place.ignored is None else pathset.element_below(place.ignored, "") or None
    )

    def met(desired: Message, detected: Message) -> bool:
        tried = _Output(out.digests, [])
        _compare(desired, detected, inside, tried)
        return not tried.found

    # Most elements are equal byte for byte; only the rest is tried each against each.
    wanted = {m.SerializeToString(deterministic=True): m for m in want}
    there = {m.SerializeToString(deterministic=True): m for m in have}
    for text in wanted.keys() - there.keys():
        if not any(met(wanted[text], other) for other in there.values()):
            return False
    return all(
        any(met(other, there[text]) for other in wanted.values()) for text in there.keys() - wanted.keys()
    )


def _compare_messages(want: Any, have: Any, field: FieldSpec, place: _Place, out: _Output) -> None:
    for index in range(max(len(want), len(have))):
        _compare_element(
            want[index] if index < len(want) else None,
            have[index] if index < len(have) else None,
            field,
            place.element(index),
            out,
        )


def _compare_keyed(want: Any, have: Any, field: FieldSpec, place: _Place, out: _Output) -> None:
    wanted, there = _by_key(field, want), _by_key(field, have)
    for key in [*wanted, *(key for key in there if key not in wanted)]:
        # Further elements of one key have no partner and count as too many.
        mine, theirs = wanted.get(key, []), there.get(key, [])
        for index in range(max(len(mine), len(theirs))):
            _compare_element(
                mine[index] if index < len(mine) else None,
                theirs[index] if index < len(theirs) else None,
                field,
                place.element(key),
                out,
            )


def _by_key(field: FieldSpec, elements: Any) -> dict[str | int, list[Any]]:
    grouped: dict[str | int, list[Any]] = {}
    for element in elements:
        grouped.setdefault(getattr(element, field.rules.list_key), []).append(element)
    return grouped


def _compare_map(want: Any, have: Any, field: FieldSpec, place: _Place, out: _Output) -> None:
    for key in sorted({*want, *have}):
        mine = want.get(key)
        theirs = have.get(key)
        _compare_element(mine, theirs, field, place.element(key_text(key)), out)


def _compare_element(want: Any, have: Any, field: FieldSpec, place: _Place, out: _Output) -> None:
    """One element of a list or map; None: there is none."""
    if place.is_ignored:
        return
    if want is not None and have is not None:
        if want == have and not _holds_digests(field):
            return
        if _is_tree(field):
            _compare(want, have, place, out)
            return
    mine, theirs = ("" if v is None else _text(element_to_json(field, v), place) for v in (want, have))
    out.add(place, mine, theirs)


_COLLECTIONS = {
    _LIST: _compare_list,
    _SET: _compare_set,
    _MESSAGES: _compare_messages,
    _KEYED: _compare_keyed,
    _MAP: _compare_map,
}


def _compare_digest(desired: Any, field: FieldSpec, place: _Place, out: _Output) -> None:
    given = write_only.is_given(desired, field)
    there = out.digests.get(place.path, b"")
    if not given and (field.shape is Shape.ONE or not there):
        return
    if given and there == write_only.digest(desired, field.name):
        return
    want = _text(field_to_json(field, getattr(desired, field.name)), place) if given else ""
    have = _text(f"sha256:{there.hex()}", place) if there else ""
    out.add(place, want, have)


def _report(desired: Any, detected: Any, field: FieldSpec, outer: _Place, out: _Output) -> None:
    """A field with or without presence that differs as a whole."""
    place = outer.field(field)
    have: Any = None
    if not field.presence or detected.HasField(field.name):
        have = getattr(detected, field.name)
    elif field.oneof:
        # Another member is set on the host: leaving it may need replacement too.
        other = detected.WhichOneof(field.oneof)
        if other is not None:
            place = place._replace(replace=place.replace or outer.field(_member(desired, other)).replace)
    _add(field, getattr(desired, field.name), have, place, out)


def _member(message: Any, name: str) -> FieldSpec:
    return SpecType.of(message.DESCRIPTOR).by_name[name]


def _add(field: FieldSpec, want: Any, have: Any, place: _Place, out: _Output) -> None:
    mine, theirs = ("" if v is None else _text(field_to_json(field, v), place) for v in (want, have))
    out.add(place, mine, theirs)


def _text(value: Any, place: _Place) -> str:
    return dump(MASK if place.secret else value)


def _dropped(old: Any, new: Any, prefix: str, found: list[str]) -> None:
    for field in SpecType.of(old.DESCRIPTOR).fields:
        path = join(prefix, field.name)
        if field.shape is Shape.ONE and field.presence:
            if not old.HasField(field.name) or field.rules.ignore:
                continue
            if not new.HasField(field.name):
                # Another member of a oneof takes the place of this one.
                if not (field.oneof and new.WhichOneof(field.oneof)):
                    found.append(path)
                continue
        if _is_tree(field):
            mine = dict(write_only.nested_messages(new, field, path))
            for spot, nested in write_only.nested_messages(old, field, path):
                if spot in mine:
                    _dropped(nested, mine[spot], spot, found)
