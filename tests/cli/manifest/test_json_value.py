"""Fields that hold JSON: written as plain YAML or JSON, refused with the place of what can't be carried."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cli.kinds import Kinds
from cli.manifest import ManifestError, parse
from cli.presentation import manifest_to_dict, to_yaml
from common import json_text

KINDS = Kinds.offline()
INFO = KINDS.get("NixosOptions")
assert INFO is not None
DECIMAL = 'm.yaml:4:16: options.a takes decimal numbers, not {0}: write "{0}" with quotes if a text is meant'
HEAD = "kind: NixosOptions\nmetadata: {name: a}\nspec:\n  options:"


def text_of(manifest: str, file: str = "m.yaml") -> str:
    (document,) = parse(manifest, KINDS, file=file)
    assert INFO is not None
    return str(INFO.message.FromString(document.resource.spec.value).options)  # type: ignore[attr-defined]


def problems(body: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse(HEAD + body, KINDS, file="m.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_yaml_becomes_the_canonical_text() -> None:
    body = """
    services:
      nginx: {virtualHosts: {"example.org": {root: /srv, listen: [80, 443]}}}
      b: [1, -2, +3, 1.5, 1e3, .5, true, False, null, ~, "80", 'yes', text, 2024-01-01, {}, []]
    a: "x\\ty"
    8080: port
"""
    assert json.loads(text_of(HEAD + body)) == {
        "8080": "port",
        "a": "x\ty",
        "services": {
            "b": [
                1,
                -2,
                3,
                1.5,
                1000.0,
                0.5,
                True,
                False,
                None,
                None,
                "80",
                "yes",
                "text",
                "2024-01-01",
                {},
                [],
            ],
            "nginx": {"virtualHosts": {"example.org": {"listen": [80, 443], "root": "/srv"}}},
        },
    }
    text = text_of(HEAD + body)
    assert text == json_text.canonical(json.loads(text))


def test_aliases_and_merge_keys_are_taken() -> None:
    assert text_of(HEAD + " {a: &x {k: 1}, b: {<<: *x, l: 2}}") == '{"a":{"k":1},"b":{"k":1,"l":2}}'


def test_integers_are_exact_up_to_64_bits() -> None:
    assert text_of(HEAD + " {a: 9223372036854775807, b: -9223372036854775808}") == (
        '{"a":9223372036854775807,"b":-9223372036854775808}'
    )


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (" {a: 9223372036854775808}", "m.yaml:4:16: options.a takes integers of 64 bits, not 9223372036854775808"),
        ("\n    a:\n      b: [1, 1e999]", "m.yaml:6:14: options.a.b[1] takes numbers that a double holds, not 1e999"),
        ("\n    a:\n    b: 1", 'm.yaml:5:7: options.a has no value: write null, {}, [] or "" if that is meant'),
        (
            " {a: yes}",
            ('m.yaml:4:16: options.a takes true or false, or "yes" with quotes: '
            "YAML 1.1 and 1.2 read yes differently"),
        ),
        (" {a: 0755}", DECIMAL.format("0755")),
        (" {a: 0x10}", DECIMAL.format("0x10")),
        (" {a: 12:30}", DECIMAL.format("12:30")),
        (" {a: .inf}", DECIMAL.format(".inf")),
        (" {a: 1_000}", DECIMAL.format("1_000")),
        (' {a: "x\\0"}', "m.yaml:4:16: options.a contains NUL (U+0000), which can't be carried"),
        (' {"x\\0": 1}', "m.yaml:4:13: options has a key with NUL (U+0000)"),
    ],
)  # fmt: skip
def test_what_can_not_be_carried_is_told_with_its_place(body: str, told: str) -> None:
    assert problems(body) == [told]


def test_duplicate_keys_are_refused_in_both_languages() -> None:
    (problem,) = problems(" {a: 1, a: 2}")
    assert problem.startswith("m.yaml:4:19: ")
    assert "twice" in problem
    with pytest.raises(ManifestError) as caught:
        text_of('{"kind":"NixosOptions","metadata":{"name":"a"},"spec":{"options":{"a":1,"a":2}}}', "m.json")
    assert "twice" in str(caught.value.problems[0])


def test_every_mistake_is_told_at_once() -> None:
    assert len(problems(" {a: 0x1, b: [yes, 99999999999999999999], c: 1}")) == 3


def test_what_is_left_out_or_null_is_missing() -> None:
    for body in ("", " null"):
        (problem,) = problems(body)
        assert problem.endswith("options must be set")


def test_it_is_shown_as_it_is_written() -> None:
    (document,) = parse(HEAD + " {a: {b: [1, 2.5, null, 'on']}}", KINDS)
    shown = manifest_to_dict(document.resource, KINDS)
    assert shown["spec"] == {"options": {"a": {"b": [1, 2.5, None, "on"]}}}
    assert yaml.safe_load(to_yaml(shown)) == shown


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(json_text.INT64_MIN, json_text.INT64_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
    | st.sampled_from(["no", "~", "1e3", "0644", "12:30:45", "<<", "null", "", "=", "2024-01-01"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab<-. \n\"'", max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abc", min_size=1), VALUES, max_size=3))
def test_every_value_comes_back_from_yaml_and_json(value: Any) -> None:
    manifest = {"kind": "NixosOptions", "metadata": {"name": "a"}, "spec": {"options": value}}
    assert text_of(json.dumps(manifest), "m.json") == json_text.canonical(value)
    assert text_of(to_yaml(manifest)) == json_text.canonical(value)
