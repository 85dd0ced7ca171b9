"""What is exported as a compose file is read back as the same containers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.compose.plan import plan
from services.homelab.containers.differences import differing
from services.homelab.containers.normalisation import check, normalise
from services.homelab.exports import compose
from services.homelab.exports.exported import Exported

WORD = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
TEXT = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc", "Zl", "Zp"]),
    min_size=1,
    max_size=20,
)
VALUE = TEXT | st.sampled_from(["$HOME", "${X:-y}", "$$", "yes", "1", "null", "a: b", "#x", "'\"", "a\nb"])
PATH = st.from_regex(r"/[a-z]{1,6}(/[a-z]{1,6})?", fullmatch=True)
MOUNT = st.fixed_dictionaries(
    {"target": PATH},
    optional={"readOnly": st.just(True)},
).flatmap(
    lambda base: st.one_of(
        st.builds(lambda source: {**base, "type": "MOUNT_TYPE_VOLUME", "source": source}, WORD),
        st.just({**base, "type": "MOUNT_TYPE_VOLUME"}),
        st.builds(
            lambda source, made: {**base, "type": "MOUNT_TYPE_BIND", "source": source, "createSource": made},
            PATH,
            st.booleans(),
        ),
    )
)
SPEC = st.fixed_dictionaries(
    {"image": st.sampled_from(["nginx:1", "registry.lan:5000/a/b:2", "x@sha256:" + "0" * 64])},
    optional={
        "command": st.lists(VALUE, min_size=1, max_size=3),
        "entrypoint": st.lists(VALUE, min_size=1, max_size=3),
        "environment": st.dictionaries(WORD, VALUE | st.just(""), max_size=3),
        "labels": st.dictionaries(WORD, VALUE, max_size=3),
        "environmentFiles": st.lists(PATH, max_size=2),
        "secrets": st.lists(
            st.fixed_dictionaries({"name": WORD, "file": PATH}, optional={"target": PATH}),
            max_size=2,
            unique_by=lambda one: one["name"],
        ),
        "ports": st.lists(
            st.fixed_dictionaries(
                {"container": st.integers(1, 65535)},
                optional={
                    "host": st.integers(1, 65535),
                    "address": st.sampled_from(["127.0.0.1", "::1"]),
                    "protocol": st.sampled_from(["tcp", "udp"]),
                },
            ),
            max_size=2,
            unique_by=lambda one: (one.get("host"), one["container"]),
        ),
        "mounts": st.lists(MOUNT, max_size=3, unique_by=lambda one: one["target"]),
        "restart": st.sampled_from(
            [
                {"condition": "RESTART_CONDITION_ALWAYS"},
                {"condition": "RESTART_CONDITION_ON_FAILURE", "maximumRetries": 3},
                {"condition": "RESTART_CONDITION_NO"},
            ]
        ),
        "healthCheck": st.sampled_from(
            [
                {"disabled": True},
                {"command": ["curl -f http://$HOST/ || exit 1"], "interval": 1500, "retries": 2},
                {"command": ["pg_isready", "-U", "a b"], "timeout": 100, "startPeriod": 60000},
                {"command": ["/well"], "noShell": True},
            ]
        ),
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "cpuMillis": st.integers(1, 8000),
                "cpuShares": st.integers(2, 4096),
                "cpuset": st.just("0-1"),
                "memory": st.integers(1 << 24, 1 << 34),
                "pids": st.integers(1, 1000),
            },
        ).filter(bool),
        "gpus": st.sampled_from(
            [
                {"capabilities": ["gpu"]},
                {"capabilities": ["gpu"], "ids": ["1", "2"]},
                {"capabilities": ["gpu", "utility"], "count": 2, "driver": "nvidia"},
            ]
        ),
        "user": st.just("1000:1000"),
        "groups": st.just(["video"]),
        "readOnly": st.booleans(),
        "capAdd": st.just(["NET_ADMIN"]),
        "capDrop": st.just(["ALL"]),
        "privileged": st.booleans(),
        "securityOptions": st.just(["no-new-privileges:true"]),
        "devices": st.just(["/dev/dri:/dev/dri:rwm"]),
        "sysctls": st.just({"net.core.somaxconn": "1024"}),
        "hostname": WORD,
        "extraHosts": st.just(["db:10.0.0.2", "six:::1"]),
        "dns": st.just(["9.9.9.9"]),
        "workingDir": PATH,
        "init": st.booleans(),
        "tty": st.booleans(),
        "stdinOpen": st.booleans(),
        "stopSignal": st.just("SIGINT"),
        "stopGrace": st.integers(0, 600),
        "shmSize": st.integers(0, 1 << 30),
        "logging": st.just({"driver": "json-file", "options": {"max-size": "10m"}}),
        "tmpfs": st.just({"/run": "size=64m", "/tmp": ""}),
        "ulimits": st.just({"nofile": "1024:65536", "core": "0"}),
        "pull": st.sampled_from(["PULL_POLICY_ALWAYS", "PULL_POLICY_NEVER"]),
        "networks": st.lists(
            st.fixed_dictionaries(
                {"network": WORD},
                optional={
                    "aliases": st.lists(WORD, max_size=2, unique=True),
                    "ipv4Address": st.just("10.9.0.2"),
                },
            ),
            max_size=2,
            unique_by=lambda one: one["network"],
        ),
    },
)


def made(fields: dict[str, Any]) -> pb.Container:
    spec = json_format.ParseDict(fields, pb.Container())
    normalise(spec)
    return spec


@settings(max_examples=300, deadline=None)
@given(SPEC)
def test_read_back_it_is_the_same(fields: dict[str, Any]) -> None:
    spec = made(fields)
    if check("web", spec):
        return
    document, notes = compose.document([Exported("web", spec)])
    assert notes == []
    # As JSON, which is YAML: the form that is read is the parser's affair.
    text = json.dumps(document)
    found = plan(text, name="demo", directory=Path("/srv"), variables={}, read=lambda path: b"")
    [container] = found.containers
    assert container.name == "web"
    for one in container.spec.networks:
        # A service can be reached by its own name, too.
        if "web" in one.aliases:
            one.aliases.remove("web")
    for one in spec.networks:
        if "web" in one.aliases:
            one.aliases.remove("web")
    normalise(container.spec)
    if not fields.get("networks"):
        spec.network_mode = spec.network_mode or "bridge"
    assert differing(spec, container.spec) == frozenset()
    assert container.spec.pull == spec.pull


def test_what_compose_has_no_words_for() -> None:
    spec = made({"image": "x", "update": "UPDATE_POLICY_AUTO", "running": False, "credentialsFile": "/c"})
    _, notes = compose.document([Exported("web", spec)])
    assert {note.field for note in notes} == {"update", "running", "credentials_file"}
    assert {note.container for note in notes} == {"web"}


def test_what_several_share_is_made_by_others() -> None:
    one = made(
        {"image": "x", "networks": [{"network": "inner"}], "mounts": [{"target": "/d", "source": "data"}]}
    )
    document, _ = compose.document([Exported("a", one), Exported("b", one)])
    assert document["networks"] == {"inner": {"name": "inner", "external": True}}
    assert document["volumes"] == {"data": {"name": "data", "external": True}}
    assert [*document["services"]] == ["a", "b"]


def test_secrets_that_are_called_alike() -> None:
    one, other = (made({"image": "x", "secrets": [{"name": "key", "file": file}]}) for file in ("/a", "/b"))
    document, _ = compose.document([Exported("a", one), Exported("b", other), Exported("c", one)])
    assert document["secrets"] == {"key": {"file": "/a"}, "b-key": {"file": "/b"}}
    assert document["services"]["b"]["secrets"] == [{"source": "b-key", "target": "key"}]
    assert document["services"]["c"]["secrets"] == [{"source": "key"}]


@pytest.mark.parametrize("value", ["$A", "${A}", "$$A", "a$"])
def test_nothing_is_taken_for_a_variable(value: str) -> None:
    document, _ = compose.document([Exported("web", made({"image": "x", "environment": {"V": value}}))])
    found = plan(
        json.dumps(document), name="demo", directory=Path("/"), variables={"A": "no"}, read=lambda path: None
    )
    assert found.containers[0].spec.environment["V"] == value
