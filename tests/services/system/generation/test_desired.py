from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidRequest, WrongState
from nixcc.resource.v1.resource_pb2 import Renderings
from services.system.generation import desired


def renderings(**options: Any) -> Renderings:
    """One File resource a name; a text is taken as JSON as it is."""
    found = Renderings()
    for name, value in options.items():
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))
        found.resources.add(kind="File", name=name, options_json=text)
    return found


def merged(**options: Any) -> Any:
    return json.loads(desired.merge(renderings(**options)).text)["options"]


def refused(**options: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        desired.merge(renderings(**options))
    return [(violation.field, violation.description) for violation in caught.value.violations]


def test_sets_join_and_lists_are_concatenated_in_the_order_of_the_owners() -> None:
    found = merged(b={"x": {"b": 2, "l": [3]}}, a={"x": {"a": 1, "l": [1, 2]}}, c={"y": True})

    assert found == {"x": {"a": 1, "b": 2, "l": [1, 2, 3]}, "y": True}


def test_equal_scalars_agree() -> None:
    assert merged(a={"x": "same"}, b={"x": "same"}) == {"x": "same"}


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 2), ("a", "b"), (1, True), (0, False), (1, 1.0), ([1], 1), ({"a": 1}, 1), (None, 1)],
)
def test_a_conflict_names_the_option_and_both_owners(one: Any, other: Any) -> None:
    ((path, why),) = refused(a={"s": {"x": one}}, b={"s": {"x": other}})

    assert path == "s.x"
    assert "File a" in why
    assert "File b" in why


def test_all_conflicts_are_told_at_once() -> None:
    assert len(refused(a={"x": 1, "y": 1, "z": 1}, b={"x": 2, "y": 2, "z": 1})) == 2


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"x": "a\\u0000b"}', "NUL"),
        ('{"a\\u0000b": 1}', "NUL"),
        ('{"x": "\\ud800"}', "surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
        ('{"x": 9223372036854775808}', "64 bits"),
        ('{"x": -9223372036854775809}', "64 bits"),
        ('{"x": 1e999}', "no number"),
        ('{"x": NaN}', "no number"),
        ('{"x": 1, "x": 2}', "'x' twice"),
        ('{"x": {"y": 1, "y": 1}}', "'y' twice"),
        ('{"x": ' + '{"a":' * 70 + "1" + "}" * 70 + "}", "nested deeper"),
        ('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested deeper"),
        ('{"x": {"_type": "override", "content": 1, "priority": 1}}', "meaning of its own"),
        ('{"x": {"_type": "if", "condition": true, "content": 1}}', "meaning of its own"),
        ('{"x": {"outPath": "/etc/shadow"}}', "meaning of its own"),
        ('{"x": {"__toString": 1}}', "meaning of its own"),
        ('{"x": {"__functor": 1}}', "meaning of its own"),
        ('{"_module": {"check": false}}', "meaning of its own"),
        ('{"x": {"imports": ["/tmp/x.nix"]}}', "meaning of its own"),
        ('{"x": {"disabledModules": ["x.nix"]}}', "meaning of its own"),
        ('{"x": [{"type": "derivation", "name": "x"}]}', "takes for a package"),
        ('{"x": {"_package": "a b"}}', "nothing else"),
        ('{"x": {"_package": "${builtins.abort 1}"}}', "nothing else"),
        ('{"x": {"_package": "hello", "more": 1}}', "nothing else"),
        ('{"x": {"_package": ["hello"]}}', "nothing else"),
        ("[1]", "set of options"),
        ("{", "Expecting"),
    ],
)
def test_what_nix_could_not_hold_or_would_read_as_more_than_data_is_refused(text: str, part: str) -> None:
    rows = refused(bad=text, good={"x": 1})

    assert any("File bad" in path and part in why for path, why in rows), rows


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0, 1.5, 1e300, -0.0])
def test_numbers_stay_what_they_are(number: float) -> None:
    assert merged(a={"x": number})["x"] == number


def test_packages_are_said_by_their_path() -> None:
    found = merged(a={"p": [{"_package": "hello"}]}, b={"p": [{"_package": "python3Packages.requests"}]})

    assert found == {"p": [{"_package": "hello"}, {"_package": "python3Packages.requests"}]}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            # `_` begins what has a meaning of its own, `type` may be that of a derivation.
            st.text(st.characters(exclude_characters="\0_", exclude_categories=["Cs"]), max_size=8).filter(
                lambda name: name not in ("outPath", "drvPath", "imports", "disabledModules", "type")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from("abcdef"), json_values, max_size=5))
def test_what_was_rendered_comes_back(options: dict[str, Any]) -> None:
    rendered = renderings(one=options)

    made = desired.merge(rendered)

    assert json.loads(made.text)["options"] == options
    back = desired.parse(made.text.encode())
    assert json.loads(back.resources[0].options_json) == options
    assert desired.merge(back).text == made.text


@given(st.permutations(list("abcd")))
def test_the_order_of_resources_changes_nothing(names: list[str]) -> None:
    options = {name: {"x": [name], name: 1} for name in "abcd"}

    assert desired.merge(renderings(**{name: options[name] for name in names})).digest == (
        desired.merge(renderings(**options)).digest
    )


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"version": 1}', '{"version": 2, "resources": []}', '{"resources": 7}']
)
def test_a_desired_json_of_somebody_else_is_refused(text: str) -> None:
    with pytest.raises(WrongState):
        desired.parse(text)


def test_no_desired_json_means_nothing() -> None:
    assert desired.parse(b"") == Renderings()


def test_the_input_is_written_once(tmp_path: Path) -> None:
    one, other = desired.merge(renderings(a={"x": 1})), desired.merge(renderings(a={"x": 2}))

    assert desired.write(tmp_path / "d", one)
    before = {path.name: path.stat().st_ino for path in (tmp_path / "d").iterdir()}
    assert set(before) == {"desired.json", "module.nix", "flake.nix"}
    assert not desired.write(tmp_path / "d", one)
    assert desired.write(tmp_path / "d", other)

    after = {path.name: path.stat().st_ino for path in (tmp_path / "d").iterdir()}
    assert before["flake.nix"] == after["flake.nix"]
    assert before["desired.json"] != after["desired.json"]
    assert (tmp_path / "d/desired.json").read_text() == other.text


def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    code = f"""
import itertools, json, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from nixcc.resource.v1.resource_pb2 import Renderings
from services.system.generation import desired
for number in itertools.count():
    found = Renderings()
    found.resources.add(kind="File", name="a", options_json=json.dumps({{"x": str(number) * 10_000}}))
    desired.write(Path({str(tmp_path / "d")!r}), desired.merge(found))
    print(number, flush=True)
"""
    for rounds in range(5):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(rounds + 1):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        text = (tmp_path / "d/desired.json").read_text()
        assert desired.merge(desired.parse(text)).text == text
