from __future__ import annotations

from typing import Any

import pytest

from common.errors import NotFound, WrongState
from common.manager import Action, Change, Detected
from nixcc.resource.v1.resource_pb2 import Renderings
from nixcc.system.v1.nixos_options_pb2 import NixosOptions
from services.system.kinds.nixos_options import NixosOptionsKind
from services.system.options.models import Wrong


class Host:
    def __init__(self) -> None:
        self.held = Renderings()
        self.wrong: list[Wrong] = []
        self.checked: list[Any] = []
        self.error: Exception | None = None

    def check(self, options: Any) -> list[Wrong]:
        self.checked.append(options)
        if self.error is not None:
            raise self.error
        return self.wrong


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def kind(host: Host) -> NixosOptionsKind:
    return NixosOptionsKind(lambda: "", host.check, lambda: host.held)


def test_options_are_checked_as_they_are_and_kept_in_one_form(kind: NixosOptionsKind, host: Host) -> None:
    spec = NixosOptions(options='{"b": {"c": 1},\n "a": 9007199254740993}')

    assert kind.validate("one", spec) == []

    assert spec.options == '{"a":9007199254740993,"b":{"c":1}}'
    assert host.checked == [{"a": 9007199254740993, "b": {"c": 1}}]
    assert kind.render("one", spec) == {"a": 9007199254740993, "b": {"c": 1}}


@pytest.mark.parametrize("text", ["[]", "1", '"x"', "{}", "null"])
def test_what_is_no_mapping_is_refused(kind: NixosOptionsKind, host: Host, text: str) -> None:
    (wrong,) = kind.validate("one", NixosOptions(options=text))

    assert wrong.field == "options"
    assert "mapping of options" in wrong.description
    assert host.checked == []


def test_what_nix_would_read_as_more_than_data_is_refused_before_anything_else(
    kind: NixosOptionsKind, host: Host
) -> None:
    (wrong,) = kind.validate("one", NixosOptions(options='{"a": {"_type": "override"}}'))

    assert "a._type is a name that Nix gives a meaning" in wrong.description
    assert host.checked == []


def test_what_nixos_would_not_take_has_its_place(kind: NixosOptionsKind, host: Host) -> None:
    host.wrong = [
        Wrong(("services", "nginx", "virtualHosts", "a.b", "root"), "takes path, not the text 'x'", "path"),
        Wrong(("networking", "hostname"), "there is no such option; did you mean networking.hostName?"),
        Wrong(("nope",), "there is no such option"),
    ]

    found = kind.validate("one", NixosOptions(options='{"a": 1}'))

    assert found[0].field.startswith("options.services.nginx.virtualHosts")
    assert found[1].field == "options.networking.hostname"
    assert "ncc option refresh" in found[2].description


def test_an_index_that_cannot_be_read_refuses_with_the_cause(kind: NixosOptionsKind, host: Host) -> None:
    host.error = NotFound("the options' file /x is not there")

    with pytest.raises(WrongState, match="/x is not there"):
        kind.validate("one", NixosOptions(options='{"a": 1}'))


def test_what_the_running_system_was_made_of_tells_it_back(kind: NixosOptionsKind, host: Host) -> None:
    host.held.resources.add(kind="NixosOptions", name="one", options_json='{"a":1}')
    host.held.resources.add(kind="File", name="two", options_json='{"b":1}')

    found = kind.detect(["one", "two"])

    assert found == {"one": Detected(NixosOptions(options='{"a":1}')), "two": None}
    assert kind.enumerate() == ["one"]


def test_only_a_generation_makes_it_so(kind: NixosOptionsKind) -> None:
    change = Change("one", Action.CREATE, NixosOptions(options='{"a":1}'), None)

    with pytest.raises(WrongState, match="generation"):
        kind.apply(change, lambda message, percent: None)
