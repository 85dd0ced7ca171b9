"""Kind HostIdentity."""

from __future__ import annotations

import pytest

from common import spec as specs
from common.manager import Action, Change, Detected
from nixcc.system.v1.host_identity_pb2 import HostIdentity
from services.system.drivers.memory import MemoryIdentityDriver
from services.system.kinds.host_identity import KEY, HostIdentityKind


@pytest.fixture
def kind() -> HostIdentityKind:
    return HostIdentityKind(MemoryIdentityDriver(["Europe/Berlin"]))


def wrong(kind: HostIdentityKind, spec: HostIdentity, name: str = KEY) -> set[str]:
    return {found.field for found in specs.violations(spec) or kind.validate(name, spec)}


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (HostIdentity(), {"hostname"}),
        (HostIdentity(hostname="-rf"), {"hostname"}),
        (HostIdentity(hostname="a" * 64), {"hostname"}),
        (HostIdentity(hostname="a.example.org"), {"hostname"}),
        (HostIdentity(time_zone="../../etc/passwd"), {"time_zone"}),
        (HostIdentity(time_zone="/etc/passwd"), {"time_zone"}),
        (HostIdentity(locale="de_DE.UTF-8\nX=1"), {"locale"}),
        (HostIdentity(locale="$(id)"), {"locale"}),
        (
            HostIdentity(
                hostname="web-1", time_zone="America/Argentina/Ushuaia", locale="ca_ES.UTF-8@valencia"
            ),
            set(),
        ),
        (HostIdentity(time_zone="Etc/GMT+1", locale="C"), set()),
    ],
)
def test_rules(kind: HostIdentityKind, spec: HostIdentity, fields: set[str]) -> None:
    assert wrong(kind, spec) == fields


def test_there_is_only_one(kind: HostIdentityKind) -> None:
    assert wrong(kind, HostIdentity(hostname="a"), "other") == {"metadata.name"}
    assert kind.detect(["other"]) == {"other": None}


def test_round(kind: HostIdentityKind) -> None:
    told: list[object] = []
    kind.watch(told.append)
    kind.hold([KEY])
    spec = HostIdentity(hostname="web", time_zone="Europe/Berlin", locale="C.UTF-8")
    assert kind.apply(Change(KEY, Action.UPDATE, spec, None), lambda m, p: None).changed
    assert told == [(KEY,)]
    found = kind.detect([KEY])[KEY]
    assert isinstance(found, Detected)
    assert found.spec == spec
    assert kind.enumerate() == (KEY,)
    assert not kind.apply(Change(KEY, Action.UPDATE, spec, None), lambda m, p: None).changed
    kind.apply(Change(KEY, Action.DELETE, None, None), lambda m, p: None)
    assert kind.detect([KEY]) == {KEY: None}
    assert kind.enumerate() == ()
    kind.apply(Change(KEY, Action.CREATE, HostIdentity(hostname="web"), None), lambda m, p: None)
    assert isinstance(kind.detect([KEY])[KEY], Detected)
    kind.drop([KEY])
    kind.close()
