"""What the kinds render: options that exist and take such values, and files that systemd-tmpfiles makes as declared."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nixos_options
from common import spec as specs
from nixcc.system.v1.file_pb2 import File
from nixcc.system.v1.host_identity_pb2 import HostIdentity
from nixcc.system.v1.sysctl_pb2 import Sysctl
from nixcc.system.v1.systemd_unit_pb2 import DropIn, SystemdUnit
from services.system.drivers.memory import (
    MemoryFileDriver,
    MemoryIdentityDriver,
    MemorySysctlDriver,
    MemorySystemdDriver,
)
from services.system.kinds.file import FileKind
from services.system.kinds.host_identity import HostIdentityKind
from services.system.kinds.sysctl import SysctlKind
from services.system.kinds.systemd_unit import SystemdUnitKind

FILES = FileKind(MemoryFileDriver())
KINDS: dict[type, Any] = {
    File: FILES,
    Sysctl: SysctlKind(MemorySysctlDriver({})),
    SystemdUnit: SystemdUnitKind(MemorySystemdDriver({})),
    HostIdentity: HostIdentityKind(MemoryIdentityDriver([])),
}

SPECS: list[tuple[Any, dict[str, Any]]] = [
    (
        File(path="/etc/motd", content="hello\n"),
        {"environment": {"etc": {"motd": {"text": "hello\n"}}}},
    ),
    (
        File(path="/etc/ssh/x", content="a", mode=0o600, owner="1000", group="users"),
        {"environment": {"etc": {"ssh/x": {"text": "a", "mode": "0600", "user": "+1000", "group": "users"}}}},
    ),
    (
        File(path="/etc/link", symlink="/run/x"),
        {"environment": {"etc": {"link": {"source": "/run/x"}}}},
    ),
    (
        File(path="/srv/x", content="a", mode=0o600),
        {
            "systemd": {
                "tmpfiles": {
                    "settings": {
                        "nixcc-n": {
                            "/srv/x": {"f+~": {"argument": "YQ==", "mode": "0600", "user": "-", "group": "-"}}
                        }
                    }
                }
            }
        },
    ),
    (
        Sysctl(name="net.ipv4.ip_forward", value="1"),
        {"boot": {"kernel": {"sysctl": {"net.ipv4.ip_forward": "1"}}}},
    ),
    (
        HostIdentity(hostname="web", time_zone="Europe/Berlin", locale="C.UTF-8"),
        {
            "networking": {"hostName": "web"},
            "time": {"timeZone": "Europe/Berlin"},
            "i18n": {"defaultLocale": "C.UTF-8"},
        },
    ),
    (
        SystemdUnit(
            unit="web.service",
            enabled=True,
            drop_ins=[DropIn(name="b", content="[Unit]"), DropIn(name="a", content="[Service]\nNice=1\n")],
        ),
        {
            "systemd": {
                "units": {
                    "web.service": {
                        "overrideStrategy": "asDropin",
                        "text": "[Service]\nNice=1\n[Unit]\n",
                        "wantedBy": ["multi-user.target"],
                    }
                }
            }
        },
    ),
    (
        SystemdUnit(unit="x.timer", masked=True),
        {
            "systemd": {
                "units": {"x.timer": {"overrideStrategy": "asDropin", "text": "[Unit]\n", "enable": False}}
            }
        },
    ),
]


@pytest.mark.parametrize(("spec", "options"), SPECS, ids=lambda value: type(value).__name__)
def test_rendering(spec: Any, options: dict[str, Any]) -> None:
    assert KINDS[type(spec)].render("n", spec) == options


def leaves(options: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from leaves(value, (*prefix, name))
        else:
            yield (*prefix, name), value


TYPES: dict[str, Callable[[Any], bool]] = {
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "path": lambda value: isinstance(value, str) and value.startswith("/"),
    "null or strings concatenated with “\\n”": lambda value: isinstance(value, str),
    "null or string": lambda value: isinstance(value, str),
    "null or string without spaces": lambda value: isinstance(value, str) and " " not in value,
    "one of “asDropinIfExists”, “asDropin”": lambda value: value in ("asDropinIfExists", "asDropin"),
    "attribute set of (sysctl option value)": lambda value: isinstance(value, str | int | bool),
}


def fits(kind: str, value: Any) -> bool:
    pattern = re.fullmatch(r"(list of )?string matching the pattern (.*)", kind)
    if pattern:
        posix = pattern[2].replace("[:alnum:]", "A-Za-z0-9")
        values = value if pattern[1] else [value]
        return isinstance(values, list) and all(re.fullmatch(posix, text) for text in values)
    return TYPES[kind](value)


@pytest.mark.parametrize(("spec", "options"), SPECS, ids=lambda value: type(value).__name__)
def test_options_exist_and_take_such_values(spec: Any, options: dict[str, Any]) -> None:
    index = nixos_options.types()
    for path, value in leaves(KINDS[type(spec)].render("n", spec)):
        # Names of attribute sets are `_name_` in the index; a value may be a whole element of such a set.
        names = [
            ".".join(part if keep else "_name_" for part, keep in zip(path, mask, strict=True))
            for mask in _masks(len(path))
        ]
        known = next((name for name in names if name in index), None) or ".".join(path[:-1])
        assert known in index, path
        assert fits(index[known], value), (known, index[known], value)


def _masks(length: int) -> list[list[bool]]:
    return [[bool(number >> place & 1) for place in range(length)] for number in reversed(range(1 << length))]


def rules(options: Mapping[str, Any]) -> str:
    """tmpfiles.d(5) lines as nixpkgs' module writes them from `systemd.tmpfiles.settings`."""
    lines = []
    for group in options["systemd"]["tmpfiles"]["settings"].values():
        for path, entries in group.items():
            for sort, rule in entries.items():
                fields = [sort, path, rule.get("mode", "-"), rule["user"], rule["group"], "-"]
                lines.append(" ".join(f"'{field}'" for field in fields) + f" {rule.get('argument', '')}\n")
    return "".join(lines)


PART = st.text(
    st.characters(exclude_characters="/", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12
)
PARTS = PART.filter(lambda part: part not in (".", ".."))
NAME = st.one_of(PARTS, st.sampled_from(["%b", "a'b", 'a"b', "a b", " a ", "\\x41", "$(id)", "*", "ü"]))
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=40)


@pytest.mark.host
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAME, TEXT, st.binary(max_size=40), st.one_of(PARTS, st.sampled_from([" %b", "a ", "\\n", "'", '"'])))
def test_systemd_tmpfiles_makes_what_was_declared(
    tmp_path: Path, require: Callable[..., None], name: str, text: str, data: bytes, target: str
) -> None:
    require(binary="systemd-tmpfiles")
    root = tmp_path / "root"
    subprocess.run(["rm", "-rf", root], check=True)
    root.mkdir()
    wanted = [
        File(path=f"/srv/{name}/text", content=text, mode=0o640),
        File(path=f"/srv/{name}/data", data=data, mode=0o600),
        File(path=f"/srv/{name}/link", symlink=target),
        File(path=f"/srv/{name}/folder", directory=True, mode=0o1750),
    ]
    for spec in wanted:
        specs.fill_defaults(spec)
        assert not specs.violations(spec)
    conf = tmp_path / "nixcc.conf"
    conf.write_text("".join(rules(FILES.render("n", spec)) for spec in wanted))
    ran = subprocess.run(
        ["systemd-tmpfiles", "--create", f"--root={root}", conf], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr + conf.read_text()
    folder = root / "srv" / name
    assert (folder / "text").read_bytes() == text.encode()
    assert (folder / "data").read_bytes() == data
    assert str((folder / "link").readlink()) == target
    assert (folder / "folder").stat().st_mode & 0o7777 == 0o1750
    assert (folder / "text").stat().st_mode & 0o7777 == 0o640
