"""The comparison, on a message type built at test time that has a field of every sort."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from common.digests import digests, without_write_only
from common.fieldpath import parse
from reconciler.diff import FieldDiff, diff, dropped_fields, equal
from spec_types import all_sorts

CLASSES = all_sorts()
Box = CLASSES["Box"]


def box(**fields: Any) -> Any:
    return json_format.ParseDict(fields, Box())


def told(desired: Any, detected: Any, **rest: Any) -> dict[str, tuple[Any, Any]]:
    """Path -> (desired, detected); None for nothing."""
    found = diff(desired, detected, **rest)
    assert equal(desired, detected, **{k: v for k, v in rest.items() if k != "pending"}) == (not found)
    return {d.path: tuple(json.loads(t) if t else None for t in (d.desired, d.detected)) for d in found}


def host_of(desired: Any) -> tuple[Any, dict[str, bytes]]:
    """What Detect says about a host that is just as desired."""
    detected = copy.deepcopy(desired)
    without_write_only(detected)
    return detected, digests(desired)


# Scalars, messages and oneofs


def test_scalars_compare_when_present_in_desired() -> None:
    assert told(box(mode=420), box(mode=420, arch="x", on=True)) == {}
    assert told(box(), box(mode=1, on=True, token="t", net={"mtu": 5}, timeout="1s", text="x")) == {}
    assert told(box(mode=420), box(mode=384)) == {"mode": (420, 384)}
    assert told(box(mode=420), box()) == {"mode": (420, None)}
    assert told(box(raw="AAE="), box(raw="AAI=")) == {"raw": ("AAE=", "AAI=")}


def test_zero_is_a_value() -> None:
    assert told(box(mode=0, on=False, arch=""), box()) == {
        "mode": (0, None),
        "on": (False, None),
        "arch": ("", None),
    }
    assert told(box(mode=0, on=False), box(mode=0, on=False)) == {}


def test_without_presence_a_scalar_always_compares() -> None:
    assert told(box(), box(plain=3)) == {"plain": (0, 3)}


def test_messages_are_descended_into() -> None:
    want = box(net={"mtu": 1500, "inner": {"mac": "a"}})
    assert told(want, box(net={"mtu": 1500, "mac": "x", "inner": {"mac": "a", "mtu": 1}})) == {}
    assert told(want, box(net={"mtu": 9000, "inner": {"mac": "b"}})) == {
        "net.mtu": (1500, 9000),
        "net.inner.mac": ("a", "b"),
    }
    assert told(want, box()) == {"net": ({"mtu": 1500, "inner": {"mac": "a"}}, None)}
    assert told(box(net={}), box()) == {"net": ({}, None)}


def test_well_known_messages_are_single_values() -> None:
    assert told(box(timeout="1.5s"), box(timeout="2s")) == {"timeout": ("1.500s", "2s")}
    assert told(box(timeout="1.5s"), box(timeout="1.500s")) == {}


def test_of_a_oneof_the_set_member_compares() -> None:
    assert told(box(text="a"), box(text="a")) == {}
    assert told(box(text="a"), box(text="b")) == {"text": ("a", "b")}
    assert told(box(text="a"), box(folder={"items": ["x"]})) == {"text": ("a", None)}
    assert told(box(folder={}), box(text="a")) == {"folder": ({}, None)}


def test_leaving_a_oneof_member_that_needs_replacement_needs_it() -> None:
    assert diff(box(text="a"), box(link="/x")) == [FieldDiff("text", '"a"', "", replace=True)]
    assert diff(box(text="a"), box(folder={})) == [FieldDiff("text", '"a"', "")]


# Lists and maps


def test_lists_and_maps_compare_exactly_and_empty_means_none() -> None:
    assert told(box(), box(args=["a"], tags=["b"], labels={"k": "v"}, disks=[{"target": "vda"}])) == {
        "args": ([], ["a"]),
        "tags": ([], ["b"]),
        "labels[k]": (None, "v"),
        "disks[vda]": (None, {"target": "vda"}),
    }


def test_an_ordered_list_compares_by_position() -> None:
    assert told(box(args=["a", "b"]), box(args=["a", "b"])) == {}
    assert told(box(args=["a", "b"]), box(args=["b", "a"])) == {"args": (["a", "b"], ["b", "a"])}
    assert told(box(args=["a"]), box(args=["a", "a"])) == {"args": (["a"], ["a", "a"])}


def test_ordered_messages_compare_one_by_one() -> None:
    want = box(steps=[{"mtu": 1}, {"mtu": 2}])
    assert told(want, box(steps=[{"mtu": 1, "mac": "x"}, {"mtu": 2}])) == {}
    assert told(want, box(steps=[{"mtu": 2}, {"mtu": 2}])) == {"steps[0].mtu": (1, 2)}
    assert told(want, box(steps=[{"mtu": 1}])) == {"steps[1]": ({"mtu": 2}, None)}
    assert told(want, box(steps=[{"mtu": 1}, {"mtu": 2}, {}])) == {"steps[2]": (None, {})}


def test_a_set_ignores_position_and_repetition() -> None:
    assert told(box(tags=["a", "b", "a"]), box(tags=["b", "a"])) == {}
    assert told(box(tags=["a"]), box(tags=["a", "b"])) == {"tags": (["a"], ["a", "b"])}
    assert told(box(tags=["a", "b"]), box(tags=["a"])) == {"tags": (["a", "b"], ["a"])}


def test_a_set_of_messages_matches_what_is_present() -> None:
    want = box(rules=[{"port": 80}, {"port": 22, "comment": "ssh"}])
    assert (
        told(want, box(rules=[{"port": 22, "comment": "ssh"}, {"port": 80, "comment": "", "seen": "9"}]))
        == {}
    )
    assert set(told(want, box(rules=[{"port": 80}, {"port": 22, "comment": "x"}]))) == {"rules"}
    assert set(told(want, box(rules=[{"port": 80}]))) == {"rules"}
    assert set(told(want, box(rules=[{"port": 80}, {"port": 22, "comment": "ssh"}, {"port": 23}]))) == {
        "rules"
    }


def test_a_keyed_list_matches_by_key() -> None:
    want = box(disks=[{"target": "vda", "size": 10}, {"target": "vdb", "size": 20}])
    assert (
        told(want, box(disks=[{"target": "vdb", "size": 20, "bus": "ide"}, {"target": "vda", "size": 10}]))
        == {}
    )
    assert told(want, box(disks=[{"target": "vdc"}, {"target": "vda", "size": 11}])) == {
        "disks[vda].size": (10, 11),
        "disks[vdb]": ({"target": "vdb", "size": 20}, None),
        "disks[vdc]": (None, {"target": "vdc"}),
    }


def test_a_second_detected_element_of_one_key_is_one_too_many() -> None:
    want = box(disks=[{"target": "a"}])
    assert told(want, box(disks=[{"target": "a"}, {"target": "a", "size": 1}])) == {
        "disks[a]": (None, {"target": "a", "size": 1})
    }


def test_maps_compare_entry_by_entry() -> None:
    assert told(box(labels={"a": "1", "b.c]": "2"}), box(labels={"a": "0", "d": "3"})) == {
        "labels[a]": ("1", "0"),
        'labels["b.c]"]': ("2", None),
        "labels[d]": (None, "3"),
    }
    assert told(box(ports={"x": {"port": 1}}), box(ports={"x": {"port": 1, "comment": "c", "seen": 5}})) == {}
    assert told(box(ports={"x": {"port": 1}}), box(ports={"x": {"port": 2}})) == {"ports[x].port": (1, 2)}


def test_a_wrapped_list_may_stay_unmanaged() -> None:
    assert told(box(), box(aliases={"items": ["a"]})) == {}
    assert told(box(aliases={}), box(aliases={"items": ["a"]})) == {"aliases.items": ([], ["a"])}


# Rules


def test_replacement_is_asked_for_by_the_field_or_one_above() -> None:
    want = box(id="a", arch="x", mode=1, disks=[{"target": "v", "bus": "ide", "size": 1}])
    have = box(id="b", arch="y", mode=2, disks=[{"target": "v", "bus": "scsi", "size": 2}])
    assert {d.path: d.replace for d in diff(want, have)} == {
        "id": True,  # the identity never changes in place
        "arch": True,
        "mode": False,
        "disks[v].size": False,
        "disks[v].bus": True,
    }


def test_ignored_by_rule() -> None:
    assert told(box(seen="a", rules=[{"seen": 1}]), box(seen="b", rules=[{"seen": 2}])) == {}


@pytest.mark.parametrize(
    ("ignored", "left"),
    [
        (
            ("mode",),
            {"net.mtu", "disks[vda].size", "disks[vdb].size", "labels[a]", "args", "tags", "steps[0].mtu"},
        ),
        (
            ("net", "disks[vda].size"),
            {"mode", "disks[vdb].size", "labels[a]", "args", "tags", "steps[0].mtu"},
        ),
        (("disks[*].size",), {"mode", "net.mtu", "labels[a]", "args", "tags", "steps[0].mtu"}),
        (("disks.size",), {"mode", "net.mtu", "labels[a]", "args", "tags", "steps[0].mtu"}),
        (("disks[vda]", "disks[vdb]"), {"mode", "net.mtu", "labels[a]", "args", "tags", "steps[0].mtu"}),
        (("disks", "labels[a]", "args[1]"), {"mode", "net.mtu", "tags", "steps[0].mtu"}),
        (("disks", "labels[*]", "args[*]"), {"mode", "net.mtu", "tags", "steps[0].mtu"}),
        (("disks", "labels", "args", "tags[b]", "steps[0].mtu"), {"mode", "net.mtu"}),
        (("disks", "labels", "args", "tags", "steps[*]", "mode", "net.mtu"), set()),
        (
            ("disks[vdz].size", "labels[z]", "args[0]", "tags[z]", "net.mtu.x", "mode.x"),
            {
                "mode",
                "net.mtu",
                "disks[vda].size",
                "disks[vdb].size",
                "labels[a]",
                "args",
                "tags",
                "steps[0].mtu",
            },
        ),
    ],
)
def test_ignored_paths(ignored: tuple[str, ...], left: set[str]) -> None:
    want = box(
        mode=1,
        net={"mtu": 1},
        labels={"a": "1"},
        args=["x", "y"],
        tags=["a"],
        steps=[{"mtu": 1}],
        disks=[{"target": "vda", "size": 1}, {"target": "vdb", "size": 1}],
    )
    have = box(
        mode=2,
        net={"mtu": 2},
        labels={"a": "2"},
        args=["x", "z"],
        tags=["a", "b"],
        steps=[{"mtu": 2}],
        disks=[{"target": "vda", "size": 2}, {"target": "vdb", "size": 2}],
    )
    assert set(told(want, have, ignored=ignored)) == left


def test_an_ignored_field_inside_a_set_of_messages() -> None:
    want, have = box(rules=[{"port": 1, "comment": "a"}]), box(rules=[{"port": 1, "comment": "b"}])
    assert set(told(want, have)) == {"rules"}
    assert told(want, have, ignored=("rules[*].comment",)) == {}
    assert told(want, have, ignored=("rules.comment",)) == {}
    assert set(told(want, have, ignored=("rules.port",))) == {"rules"}


def test_an_unreadable_ignored_path_is_refused() -> None:
    with pytest.raises(ValueError, match="field path"):
        diff(box(), box(), ignored=("disks[",))


def test_pending_differences_are_flagged_with_all_below() -> None:
    want = box(mode=1, arch="a", disks=[{"target": "v", "size": 1}, {"target": "w", "size": 1}])
    have = box(mode=2, arch="b", disks=[{"target": "v", "size": 2}, {"target": "w", "size": 2}])
    found = diff(want, have, pending=["mode", "disks[v]"])
    assert {d.path: d.pending for d in found} == {
        "mode": True,
        "arch": False,
        "disks[v].size": True,
        "disks[w].size": False,
    }
    assert all(d.pending for d in diff(want, have, pending=["mode", "arch", "disks[*]"]))


def test_write_only_fields_compare_by_digest() -> None:
    want = box(script="run", disks=[{"target": "v", "key": "k"}], certificates=["AA=="])
    have, known = host_of(want)
    assert not have.HasField("script")
    assert set(known) == {"script", "disks[v].key", "certificates"}
    assert known["script"] == hashlib.sha256(b"run").digest()
    assert told(want, have, digests=known) == {}
    other = {**known, "script": hashlib.sha256(b"old").digest()}
    assert told(want, have, digests=other) == {"script": ("run", f"sha256:{other['script'].hex()}")}
    assert told(want, have, digests={"script": known["script"]}) == {
        "certificates": (["AA=="], None),
        "disks[v].key": ("********", None),
    }


def test_digests_count_where_all_else_is_equal() -> None:
    """Even where a service gives the field itself back, its digest decides."""
    want = box(net={"psk": "new"}, steps=[{"psk": "new"}], disks=[{"target": "v", "key": "new"}])
    assert set(told(want, want, digests=digests(want))) == set()
    assert set(told(want, want)) == {"net.psk", "steps[0].psk", "disks[v].key"}


def test_an_unset_write_only_scalar_is_unmanaged_an_empty_list_is_not() -> None:
    assert told(box(), box(), digests={"script": b"x" * 32}) == {}
    assert told(box(), box(), digests={"certificates": b"x" * 32}) == {
        "certificates": (None, f"sha256:{(b'x' * 32).hex()}")
    }


def test_secrets_are_masked_on_both_sides() -> None:
    want = box(token="s3cret", password="s3cret", disks=[{"target": "n", "key": "s3cret"}])
    found = diff(want, box(token="0ld"), digests={"password": hashlib.sha256(b"0ld").digest()})
    assert {d.path for d in found} == {"token", "password", "disks[n]"}
    assert not any(bad in str(found) for bad in ("s3cret", "0ld", hashlib.sha256(b"0ld").hexdigest()))


def test_an_absent_object_differs_in_all_that_is_desired() -> None:
    assert told(box(id="a", mode=0, tags=["x"]), None) == {
        "id": ("a", None),
        "mode": (0, None),
        "tags": (["x"], []),
    }


def test_two_types_are_not_compared() -> None:
    with pytest.raises(TypeError, match=r"sample\.Box with sample\.Net"):
        diff(box(), CLASSES["Net"]())


# Properties

words = st.sampled_from(["", "a", "b", "c", "a.b", "x]y", "*"])
numbers = st.integers(-1, 2)


def records(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


names = records({}, {"items": st.lists(words, max_size=3)})
nets = st.recursive(
    records({}, {"mac": words, "mtu": numbers, "dns": st.lists(words, max_size=2), "psk": words}),
    lambda inner: records({}, {"mtu": numbers, "inner": inner}),
    max_leaves=2,
)
rules = records({}, {"port": numbers, "comment": words, "seen": numbers})
disks = records(
    {"target": words}, {"size": numbers, "bus": words, "key": words, "options": st.lists(words, max_size=2)}
)
fields = {
    "id": words,
    "mode": numbers,
    "on": st.booleans(),
    "arch": words,
    "token": words,
    "password": words,
    "script": words,
    "seen": words,
    "plain": numbers,
    "raw": st.sampled_from(["", "AA=="]),
    "certificates": st.lists(st.sampled_from(["", "AA=="]), max_size=2),
    "tags": st.lists(words, max_size=3),
    "args": st.lists(words, max_size=3),
    "rules": st.lists(rules, max_size=3),
    "disks": st.lists(disks, max_size=3, unique_by=lambda d: d["target"]),
    "steps": st.lists(nets, max_size=3),
    "labels": st.dictionaries(words, words, max_size=3),
    "ports": st.dictionaries(words, rules, max_size=3),
    "net": nets,
    "aliases": names,
    "timeout": st.sampled_from(["0s", "1s"]),
}
sources = st.one_of(
    st.just({}),
    st.builds(lambda v: {"text": v}, words),
    st.builds(lambda v: {"link": v}, words),
    st.builds(lambda v: {"folder": v}, names),
)
boxes = st.builds(lambda f, s: box(**f, **s), records({}, fields), sources)


@given(boxes)
def test_a_host_that_is_as_desired_has_no_diff(desired: Any) -> None:
    detected, known = host_of(desired)
    assert diff(desired, detected, digests=known) == []
    assert equal(desired, detected, digests=known)


@given(boxes, boxes)
def test_what_desired_leaves_out_never_differs(desired: Any, other: Any) -> None:
    """Scalars and messages that only the host has are no difference; lists and maps taken from desired."""
    detected, known = host_of(desired)
    for field in Box.DESCRIPTOR.fields:
        if field.has_presence and not desired.HasField(field.name) and other.HasField(field.name):
            if field.containing_oneof.name == "source" and desired.WhichOneof("source"):
                continue
            copied = getattr(other, field.name)
            if field.message_type:
                getattr(detected, field.name).CopyFrom(copied)
            else:
                setattr(detected, field.name, copied)
    assert diff(desired, detected, digests=known) == []


@given(boxes, boxes)
def test_applying_the_diff_empties_it(desired: Any, host: Any) -> None:
    detected, known = host_of(host)
    for _ in range(2):
        found = diff(desired, detected, digests=known)
        for difference in found:
            put(desired, detected, known, difference.path)
    assert diff(desired, detected, digests=known) == []


@given(boxes, boxes)
def test_only_fields_that_differ_are_named(desired: Any, host: Any) -> None:
    """Whatever is named is a path of the type, named once, and the two JSON texts say different things."""
    detected, known = host_of(host)
    found = diff(desired, detected, digests=known)
    assert len({d.path for d in found}) == len(found)
    for difference in found:
        parse(difference.path)
        hidden = "********" in difference.desired + difference.detected
        assert hidden or difference.desired != difference.detected


@given(boxes, boxes, st.randoms(use_true_random=False))
def test_position_does_not_matter_in_sets_and_keyed_lists(desired: Any, host: Any, random: Any) -> None:
    detected, known = host_of(host)
    before = {d.path for d in diff(desired, detected, digests=known)}
    for message in (desired, detected):
        for name in ("tags", "rules", "disks"):
            elements = [copy.deepcopy(e) for e in getattr(message, name)]
            random.shuffle(elements)
            message.ClearField(name)
            getattr(message, name).extend(elements + (elements[:1] if name != "disks" else []))
    assert {d.path for d in diff(desired, detected, digests=known)} == before


@given(boxes, boxes)
def test_ignoring_each_difference_leaves_none(desired: Any, host: Any) -> None:
    detected, known = host_of(host)
    found = diff(desired, detected, digests=known)
    ignored = tuple(d.path for d in found)
    assert diff(desired, detected, digests=known, ignored=ignored) == []
    assert all(d.pending for d in diff(desired, detected, digests=known, pending=ignored))
    for path in ignored[:3]:
        left = diff(desired, detected, digests=known, ignored=(path,))
        assert {d.path for d in left} == set(ignored) - {path}


def put(desired: Any, detected: Any, known: dict[str, bytes], path: str) -> None:
    """Make one field of the host as desired, as a service would; shares nothing with the comparison."""
    steps = parse(path)
    wanted = digests(desired)
    for place in [p for p in known if p == path or p.startswith((f"{path}.", f"{path}["))]:
        del known[place]
    known.update({p: d for p, d in wanted.items() if p == path or p.startswith((f"{path}.", f"{path}["))})
    mine, theirs = desired, detected
    for step in steps[:-1]:
        mine, theirs = child(mine, step), child(theirs, step)
        assert theirs is not None
        if mine is None:
            return
    last = steps[-1]
    field = mine.DESCRIPTOR.fields_by_name[last.name]
    if last.element is None:
        theirs.ClearField(last.name)
        lone = type(mine)()
        lone.CopyFrom(mine)
        for other, _ in mine.ListFields():
            if other.name != last.name:
                lone.ClearField(other.name)
        theirs.MergeFrom(lone)
    elif field.message_type and field.message_type.GetOptions().map_entry:
        ours, there = getattr(mine, last.name), getattr(theirs, last.name)
        there.pop(last.element, None)
        if last.element in ours:
            if hasattr(there, "get_or_create"):
                there[last.element].CopyFrom(ours[last.element])
            else:
                there[last.element] = ours[last.element]
    else:
        rest = [
            copy.deepcopy(e) for i, e in enumerate(getattr(theirs, last.name)) if key_of(e, i) != last.element
        ]
        new = [
            copy.deepcopy(e) for i, e in enumerate(getattr(mine, last.name)) if key_of(e, i) == last.element
        ]
        theirs.ClearField(last.name)
        getattr(theirs, last.name).extend(rest + new)
    without_write_only(detected)


def key_of(element: Any, index: int) -> str:
    return element.target if element.DESCRIPTOR.name == "Disk" else str(index)


def child(message: Any, step: Any) -> Any:
    value = getattr(message, step.name)
    if step.element is None:
        return value
    if hasattr(value, "get_or_create"):
        return value.get(step.element)
    return next((e for i, e in enumerate(value) if key_of(e, i) == step.element), None)


# Dropped fields


def test_fields_that_are_no_longer_set_are_named() -> None:
    old = box(
        mode=1,
        arch="x",
        text="t",
        seen="s",
        script="x",
        net={"mtu": 1, "mac": "m"},
        aliases={"items": ["a"]},
        tags=["a"],
        labels={"a": "1"},
        disks=[{"target": "v", "size": 1, "bus": "ide"}, {"target": "w", "size": 2}],
        ports={"p": {"port": 1}},
    )
    new = box(arch="y", link="l", net={"mac": "n"}, disks=[{"target": "v", "bus": "ide"}], ports={"p": {}})
    assert dropped_fields(old, new) == [
        "mode",
        "script",
        "disks[v].size",
        "ports[p].port",
        "net.mtu",
        "aliases",
    ]
    assert dropped_fields(old, old) == []
    assert dropped_fields(new, old) == []
    assert dropped_fields(box(text="t"), box()) == ["text"]
