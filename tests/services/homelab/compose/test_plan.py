"""Whole compose files: what they mean, what is refused, and that nothing else can happen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidRequest
from nixcc.homelab.v1 import container_pb2, stack_pb2
from services.homelab.compose.plan import StackPlan, plan
from services.homelab.compose.verdicts import Verdict

Planned = Callable[..., StackPlan]


def spec(found: StackPlan, name: str = "demo-a-1") -> container_pb2.Container:
    return next(one.spec for one in found.containers if one.name == name)


def one(planned: Planned, fields: dict[str, Any], **more: Any) -> container_pb2.Container:
    """The container of a file with one service."""
    files = more.pop("files", None)
    text = json.dumps({"services": {"a": {"image": "x", **fields}}, **more})
    return spec(planned(text, files))


def test_a_usual_one(planned: Planned) -> None:
    found = planned(
        """
services:
  db:
    image: postgres:16
    volumes: [data:/var/lib/postgresql/data, ./init:/init:ro]
    healthcheck: {test: [CMD-SHELL, pg_isready], interval: 10s, retries: 5}
    secrets: [password]
  web:
    image: nginx
    depends_on: {db: {condition: service_healthy}}
    networks: [front, default]
    deploy: {replicas: 2}
networks: {front: {internal: true}}
volumes: {data: {}}
secrets: {password: {file: ./password}}
"""
    )
    assert [one.name for one in found.containers] == ["demo-db-1", "demo-web-1", "demo-web-2"]
    db = spec(found, "demo-db-1")
    assert [(mount.source, mount.target, mount.read_only) for mount in db.mounts] == [
        ("demo_data", "/var/lib/postgresql/data", False),
        ("/srv/demo/init", "/init", True),
    ]
    assert (db.health_check.command[0], db.health_check.interval) == ("pg_isready", 10_000)
    assert (db.secrets[0].name, db.secrets[0].file) == ("password", "/srv/demo/password")
    web = spec(found, "demo-web-2")
    assert [attached.network for attached in web.networks] == ["demo_front", "demo_default"]
    assert found.containers[1].depends_on[0].condition == stack_pb2.DEPENDENCY_CONDITION_HEALTHY
    assert {network.name for network in found.networks} == {"demo_front", "demo_default"}
    assert [volume.name for volume in found.volumes] == ["demo_data"]
    assert all(field.verdict is Verdict.TAKEN for field in found.fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"command": "a 'b c'", "entrypoint": ["sh"]}, {"command": ["a", "b c"], "entrypoint": ["sh"]}),
        ({"environment": ["A=1"]}, {"environment": {"A": "1"}}),
        (
            {"restart": "on-failure:3"},
            {"restart": {"condition": "RESTART_CONDITION_ON_FAILURE", "maximumRetries": 3}},
        ),
        (
            {"deploy": {"restart_policy": {"condition": "any"}}},
            {"restart": {"condition": "RESTART_CONDITION_ALWAYS"}},
        ),
        ({}, {"restart": {"condition": "RESTART_CONDITION_NO"}}),
        ({"mem_limit": "64m", "cpus": 0.5}, {"limits": {"memory": "67108864", "cpuMillis": 500}}),
        ({"cpu_quota": 50000}, {"limits": {"cpuMillis": 500}}),
        (
            {"ulimits": {"nofile": {"soft": 1, "hard": 2}, "nproc": 3}},
            {"ulimits": {"nofile": "1:2", "nproc": "3"}},
        ),
        ({"tmpfs": "/run:size=1m"}, {"tmpfs": {"/run": "size=1m"}}),
        ({"extra_hosts": {"db": "10.0.0.1"}}, {"extraHosts": ["db:10.0.0.1"]}),
        ({"extra_hosts": ["db=10.0.0.1"]}, {"extraHosts": ["db:10.0.0.1"]}),
        ({"stop_grace_period": "1m30s"}, {"stopGrace": 90}),
        ({"cap_drop": ["all"], "cap_add": ["CAP_CHOWN"]}, {"capDrop": ["ALL"], "capAdd": ["CHOWN"]}),
        ({"healthcheck": {"disable": True}}, {"healthCheck": {"disabled": True}}),
        ({"healthcheck": {"test": ["pg_isready"]}}, {"healthCheck": {"disabled": True}}),
        ({"healthcheck": {"test": ["CMD-SHELL", "a", "b"]}}, {"healthCheck": {"command": ["a"]}}),
        ({"healthcheck": {"test": "printf 'a\\r\\n'"}}, {"healthCheck": {"command": ["printf 'a\\r\\n'"]}}),
        ({"environment": {"A": 2.0, "B": 1.5}}, {"environment": {"A": "2", "B": "1.5"}}),
        ({"mem_limit": "512Mi"}, {"limits": {"memory": "536870912"}}),
        ({"network_mode": "default"}, {"networkMode": "bridge"}),
        ({"network_mode": "other"}, {"networks": [{"network": "other"}]}),
        (
            {"volumes": [{"type": "bind", "source": ".d", "target": "/d"}, ".e:/e"]},
            {
                "mounts": [
                    {
                        "target": f"/{x}",
                        "type": "MOUNT_TYPE_BIND",
                        "source": f"/srv/demo/.{x}",
                        "createSource": True,
                    }
                    for x in "de"
                ]
            },
        ),
        (
            {"deploy": {"restart_policy": {"condition": "unless-stopped"}}},
            {"restart": {"condition": "RESTART_CONDITION_UNLESS_STOPPED"}},
        ),
        (
            {"healthcheck": {"test": ["CMD", "/well"]}},
            {"healthCheck": {"command": ["/well"], "noShell": True}},
        ),
        ({"healthcheck": {"test": ["CMD-SHELL", "/well"]}}, {"healthCheck": {"command": ["/well"]}}),
        (
            {"logging": {"driver": "local", "options": {"max-size": 1}}},
            {"logging": {"driver": "local", "options": {"max-size": "1"}}},
        ),
        ({"gpus": "all"}, {"gpus": {"capabilities": ["gpu"]}}),
        ({"pull_policy": "always"}, {"pull": "PULL_POLICY_ALWAYS"}),
        (
            {"shm_size": "1m", "init": True, "user": 1000},
            {"shmSize": "1048576", "init": True, "user": "1000"},
        ),
        (
            {"volumes": [{"type": "tmpfs", "target": "/t", "tmpfs": {"size": "1m"}}]},
            {"tmpfs": {"/t": "size=1048576"}},
        ),
        ({"sysctls": ["a.b=1"], "labels": ["x"]}, {"sysctls": {"a.b": "1"}, "labels": {"x": ""}}),
        ({"devices": [{"source": "/dev/a", "target": "/dev/b"}]}, {"devices": ["/dev/a:/dev/b"]}),
    ],
)
def test_fields(planned: Planned, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    from google.protobuf import json_format

    found = json_format.MessageToDict(one(planned, {"network_mode": "none", **fields}))
    assert {key: found.get(key) for key in expected} == expected


def test_networks_are_joined_by_the_services_name(planned: Planned) -> None:
    found = one(
        planned,
        {"networks": {"n": {"aliases": ["www"], "ipv4_address": "10.1.0.9"}}},
        networks={"n": {"external": True, "name": "there"}},
    )
    attached = found.networks[0]
    assert (attached.network, [*attached.aliases], attached.ipv4_address) == (
        "there",
        ["a", "www"],
        "10.1.0.9",
    )


def test_namespaces_of_other_services(planned: Planned) -> None:
    found = planned(
        'services: {a: {image: x, network_mode: "service:b", pid: host}, b: {image: y, container_name: bb}}'
    )
    assert [one.name for one in found.containers] == ["bb", "demo-a-1"]
    assert (spec(found).network_mode, spec(found).pid_mode) == ("container:bb", "host")


def test_files_of_variables(planned: Planned) -> None:
    files = {".env": "TAG=2\nB=from file", "a.env": "X=1"}
    text = """
services:
  a:
    image: x:${TAG}
    environment: {B: , C: "${C:-c}", D: }
    env_file: [a.env, {path: absent.env, required: false}]
"""
    found = planned(text, files, variables={"B": "given"})
    container = spec(found)
    assert (container.image, dict(container.environment)) == ("x:2", {"B": "given", "C": "c"})
    assert [*container.environment_files] == ["/srv/demo/a.env"]
    assert ("services.a.env_file[1]", Verdict.IGNORED) in [(one.path, one.verdict) for one in found.fields]


def test_a_variable_named_alone_is_passed_on_from_the_files_beside(planned: Planned) -> None:
    found = planned("services: {a: {image: x, environment: [A, B]}}", {".env": "A=1"})
    assert dict(spec(found).environment) == {"A": "1"}
    assert [one.path for one in found.fields if one.verdict is Verdict.IGNORED] == [
        "services.a.environment.B"
    ]


def test_variables_that_mean_something_to_compose(planned: Planned) -> None:
    text = "services: {a: {image: 'x:${COMPOSE_PROJECT_NAME}'}, b: {image: y, profiles: [debug]}}"
    found = planned(text, {".env": "COMPOSE_PROFILES=other, debug\nCOMPOSE_PROJECT_NAME=other"})
    assert [(one.service, one.spec.image) for one in found.containers] == [("a", "x:demo"), ("b", "y")]


def test_what_extends_is_merged_field_by_field(planned: Planned) -> None:
    found = planned(
        """
services:
  base:
    image: x
    depends_on: {db: {condition: service_healthy}}
    networks: {n: {aliases: [one]}}
    extra_hosts: {a: 10.0.0.1}
    logging: {driver: syslog, options: {tag: t}}
  a:
    extends: base
    depends_on: {db: {restart: true}}
    networks: [n]
    extra_hosts: [b=10.0.0.2]
    logging: {driver: local}
  db: {image: y}
networks: {n: {}}
"""
    )
    container = next(one for one in found.containers if one.service == "a")
    waits = container.depends_on[0]
    assert (waits.condition, waits.restart) == (stack_pb2.DEPENDENCY_CONDITION_HEALTHY, True)
    assert [*container.spec.networks[0].aliases] == ["a", "one"]
    assert [*container.spec.extra_hosts] == ["a:10.0.0.1", "b:10.0.0.2"]
    assert (container.spec.logging.driver, dict(container.spec.logging.options)) == ("local", {})


def test_files_of_one_include_go_over_one_another_and_the_file_over_them(planned: Planned) -> None:
    files = {
        "m/one.yml": "services: {a: {image: x, command: one, volumes: [./d:/d]}}",
        "m/deep/two.yml": "services: {a: {image: y, volumes: [./e:/e]}, c: {image: z}}",
    }
    text = "include: [{path: [m/one.yml, m/deep/two.yml]}]\nservices: {a: {user: me}, b: {extends: c}}"
    found = planned(text, files)
    container = spec(found)
    assert (container.image, container.user, [*container.command]) == ("y", "me", ["one"])
    assert [mount.source for mount in container.mounts] == ["/srv/demo/m/d", "/srv/demo/m/e"]
    assert spec(found, "demo-b-1").image == "z"


def test_reset_and_override_of_an_include_and_of_documents(planned: Planned) -> None:
    files = {
        "one.yml": "services: {a: {image: x, ports: ['80:80'], environment: {A: 1, B: 2}, command: c}}",
        "two.yml": "services: {a: {ports: !override ['81:81'], environment: {A: !reset null}}}",
    }
    text = "include: [{path: [one.yml, two.yml]}]\n---\nservices: {a: {command: !reset null}}\n---\n"
    container = spec(planned(text, files))
    assert [port.host for port in container.ports] == [81]
    assert (dict(container.environment), [*container.command]) == ({"B": "2"}, [])
    text = "services: {a: {image: x}}\nnetworks: {n: {}}\n---\nservices:\n  a:\n    image: y\nnetworks: {n: !reset {}}"
    found = planned(text)
    assert spec(found).image == "y"
    assert [one.name for one in found.networks] == ["demo_default"]
    with pytest.raises(InvalidRequest, match=r"B is not set.*line 6"):
        planned(text.replace("image: y", "image: ${B}"))


def test_of_a_file_that_is_extended_only_what_is_taken_counts(planned: Planned) -> None:
    files = {"base.yml": "services:\n  good: {image: x}\n  bad: {image: '${ABSENT}'}"}
    text = "services: {a: {extends: {file: base.yml, service: %s}}}"
    assert spec(planned(text % "good", files)).image == "x"
    with pytest.raises(InvalidRequest, match=r"base.yml: services.bad.image: .*ABSENT.*line 3"):
        planned(text % "bad", files)


def test_what_the_file_itself_holds_becomes_files(planned: Planned) -> None:
    text = """
services:
  a:
    image: x
    configs: [c, {source: d, target: /etc/d, mode: 0440}]
configs:
  c: {content: "$${A} ${A}"}
  d: {environment: A}
"""
    found = planned(text, {".env": "A=1"}, keep_in=Path("/state"))
    assert [(one.content, one.mode) for one in found.files] == [("${A} 1", 0o444), ("1", 0o440)]
    assert [(one.source, one.target, one.read_only) for one in spec(found).mounts] == [
        (found.files[0].path, "/c", True),
        (found.files[1].path, "/etc/d", True),
    ]
    assert all(Path(one.path).parent == Path("/state/demo") for one in found.files)
    other = planned(text, {".env": "A=2"}, keep_in=Path("/state"))
    assert not {one.path for one in other.files} & {one.path for one in found.files}
    with pytest.raises(InvalidRequest, match=r"configs.d.environment: the variable A is not set.*line 8"):
        planned(text.replace(" ${A}", ""))


def test_links_give_aliases(planned: Planned) -> None:
    text = "services: {a: {image: x, links: ['b:db', c]}, b: {image: y}, c: {image: z}}"
    found = planned(text)
    assert [*spec(found, "demo-b-1").networks[0].aliases] == ["b", "db"]
    assert all(one.verdict is Verdict.TAKEN for one in found.fields)
    for other, says in (("b:c", "c is the name of c"), ("d:db", "in no network together")):
        found = planned(text.replace("b:db", other).replace("}}", "}, d: {image: y, network_mode: none}}"))
        (reason,) = [one.reason for one in found.fields if one.reason]
        assert says in reason


def test_the_last_of_several_at_one_place_counts(planned: Planned) -> None:
    text = json.dumps(
        {
            "services": {
                "a": {
                    "image": "x",
                    "volumes": ["./a:/a", "./b:/b", "./c:/a:roz"],
                    "ports": ["0.0.0.0:80:80/TCP", "[::]:80:80"],
                }
            }
        }
    )
    found = planned(text)
    assert [(one.source, one.target) for one in spec(found).mounts] == [
        ("/srv/demo/b", "/b"),
        ("/srv/demo/c", "/a"),
    ]
    assert [one.host for one in spec(found).ports] == [80]
    told = [one.path for one in found.fields if one.verdict is Verdict.IGNORED]
    assert told == ["services.a.volumes[2]", "services.a.volumes[0]", "services.a.ports[1]"]


def test_fields_that_compose_does_not_know_are_named_wherever_they_are(planned: Planned) -> None:
    """One at a time goes into each mapping of a file that has all of them."""
    document = {
        "services": {
            "a": {
                "image": "x",
                "ports": [{"target": 80}],
                "volumes": [
                    {"type": "bind", "source": "/a", "target": "/a", "bind": {"create_host_path": True}},
                    {"type": "volume", "source": "v", "target": "/v", "volume": {"nocopy": True}},
                    {"type": "tmpfs", "target": "/t", "tmpfs": {"size": "1m"}},
                ],
                "networks": {"n": {"aliases": ["b"]}},
                "configs": [{"source": "c"}],
                "secrets": [{"source": "s"}],
                "depends_on": {"b": {"condition": "service_started"}},
                "env_file": [{"path": "a.env"}],
                "healthcheck": {"test": ["CMD", "true"]},
                "logging": {"driver": "local"},
                "ulimits": {"nofile": {"soft": 1, "hard": 2}},
                "devices": [{"source": "/dev/null", "target": "/dev/null"}],
                "gpus": [{"count": 1}],
                "deploy": {
                    "resources": {
                        "limits": {"pids": 5},
                        "reservations": {"memory": "1m", "devices": [{"capabilities": ["gpu"]}]},
                    },
                    "restart_policy": {"condition": "any"},
                },
            },
            "b": {"extends": {"service": "c"}},
            "c": {"image": "y"},
        },
        "networks": {"n": {"ipam": {"config": [{"subnet": "10.9.0.0/24"}]}}},
        "volumes": {"v": {"driver": "local"}},
        "secrets": {"s": {"file": "s"}},
        "configs": {"c": {"file": "c"}},
        "include": [{"path": "more.yml"}],
    }
    files = {"a.env": "", "more.yml": "services: {d: {image: z}}"}
    assert not unknown(planned(json.dumps(document), files))
    for place in mappings(document):
        if place is document["services"]["a"]["ulimits"]:
            continue  # its keys are names of limits
        place["zz"] = 1
        try:
            assert unknown(planned(json.dumps(document), files)), place
        except InvalidRequest as error:
            assert "zz" in str(error.violations), place
        del place["zz"]


def unknown(found: StackPlan) -> list[str]:
    return [one.path for one in found.fields if "zz" in one.path and one.verdict is not Verdict.TAKEN]


def mappings(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [found for one in value for found in mappings(one)]
    if not isinstance(value, dict):
        return []
    return [value, *(found for one in value.values() for found in mappings(one))]


def test_profiles(planned: Planned) -> None:
    text = "services: {a: {image: x}, b: {image: y, profiles: [debug]}}"
    assert [one.service for one in planned(text).containers] == ["a"]
    assert [one.service for one in planned(text, profiles=["debug"]).containers] == ["a", "b"]
    with pytest.raises(InvalidRequest, match="its profile is not chosen"):
        planned("services: {a: {image: x, depends_on: [b]}, b: {image: y, profiles: [debug]}}")


def test_extends_and_include(planned: Planned) -> None:
    files = {
        "base/common.yml": "services: {base: {image: x, environment: [A=1, B=1], volumes: [./d:/d], command: old}}",
        "more/compose.yml": "services: {extra: {image: '${IMAGE}', volumes: ['./e:/e']}}",
        "more/.env": "IMAGE=y",
    }
    text = """
include: [more/compose.yml]
services:
  a:
    extends: {file: base/common.yml, service: base}
    environment: {B: 2}
    command: new
"""
    found = planned(text, files)
    container = spec(found)
    assert (container.image, dict(container.environment), [*container.command]) == (
        "x",
        {"A": "1", "B": "2"},
        ["new"],
    )
    assert container.mounts[0].source == "/srv/demo/base/d"
    extra = spec(found, "demo-extra-1")
    assert (extra.image, extra.mounts[0].source) == ("y", "/srv/demo/more/e")


def test_every_field_gets_a_word(planned: Planned) -> None:
    fields = {
        "image": "x",
        "memswap_limit": "1g",
        "foo": 1,
        "name": "n",
        "x-note": 2,
        "volumes_from": ["b"],
        "expose": [80],
    }
    found = planned(json.dumps({"services": {"a": fields}, "x-top": 1, "name": "other"}))
    told = {field.path: field.verdict for field in found.fields}
    assert told == {
        "x-top": Verdict.IGNORED,
        "name": Verdict.IGNORED,
        "services.a.image": Verdict.TAKEN,
        "services.a.memswap_limit": Verdict.IGNORED,
        "services.a.foo": Verdict.UNSUPPORTED,
        "services.a.name": Verdict.UNSUPPORTED,
        "services.a.x-note": Verdict.IGNORED,
        "services.a.volumes_from": Verdict.UNSUPPORTED,
        "services.a.expose": Verdict.IGNORED,
    }
    assert all(field.reason for field in found.fields if field.verdict is not Verdict.TAKEN)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("services: {a: {image: x, depends_on: [b]}, b: {image: y, depends_on: [a]}}", "a → b → a"),
        ("services: {a: {image: '${X}'}}", "X is not set"),
        ("services: {a: {image: x, depends_on: [b]}}", "there is no service b"),
        ("services: {a: {build: .}}", "images are not built here"),
        ("services: {a: {image: x, ports: ['1:99999']}}", "ports"),
        ("services: {a: {image: x, volumes: ['v:/v']}}", "v is not among"),
        ("services: {a: {image: x, networks: [n]}}", "n is not among"),
        ("services: {a: {image: x, secrets: [s]}}", "s is not among"),
        ("services: {a: {image: x, env_file: absent}}", "absent is not there"),
        ("services: {a: {image: x, extends: a}}", "circle"),
        ("services: {a: {image: x, extends: b}}", "no service b"),
        ("services: {a: {image: x, container_name: n}, b: {image: x, container_name: n}}", "that of"),
        ("services: {a: {image: x, container_name: n, scale: 2}}", "only one"),
        ("services: {a: {image: x, volumes: ['~/x:/x']}}", "whole path"),
        ("services: {}", "there are none"),
        ("services: {a: {image: x, profiles: [debug]}}", "choose profiles"),
        ("service: {a: {image: x}}", "no such section"),
        ("[]", "no mapping"),
        ("include: [absent.yml]\nservices: {a: {image: x}}", "absent.yml is not there"),
        ("services: {a: 3}", "must be a mapping"),
        ("services: {a: {image: x, restart: sometimes}}", "none of no, always"),
    ],
)
def test_what_is_refused(planned: Planned, text: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        planned(text)
    assert says in " ".join([raised.value.message, *(one.description for one in raised.value.violations)])
    assert raised.value.next_step


def test_files_that_include_one_another(planned: Planned) -> None:
    files = {"docker-compose.yml": "include: [docker-compose.yml]\nservices: {a: {image: x}}"}
    with pytest.raises(InvalidRequest, match=r"docker-compose\.yml → /srv/demo/docker-compose\.yml"):
        planned(files["docker-compose.yml"], files)


def test_includes_that_multiply(planned: Planned) -> None:
    names = "abcdefghij"
    files = {
        f"{name}.yml": json.dumps({"include": [f"{one}.yml" for one in names if one > name], "services": {}})
        for name in names
    }
    with pytest.raises(InvalidRequest, match="more than 500 includes"):
        planned("include: [a.yml]\nservices: {a: {image: x}}", files)


def test_one_secret_at_several_places(planned: Planned) -> None:
    found = one(
        planned,
        {"secrets": ["s", {"source": "s", "target": "/x"}, {"source": "s"}]},
        secrets={"s": {"file": "s"}},
    )
    assert [(one.name, one.target, one.file) for one in found.secrets] == [
        ("s", "", "/srv/demo/s"),
        ("s.2", "/x", "/srv/demo/s"),
    ]


KEYS = st.sampled_from(
    [
        "services",
        "networks",
        "volumes",
        "secrets",
        "configs",
        "include",
        "name",
        "image",
        "ports",
        "environment",
        "env_file",
        "depends_on",
        "deploy",
        "extends",
        "healthcheck",
        "command",
        "x-a",
        "a",
        "b",
        "build",
        "restart",
        "profiles",
        "logging",
        "ulimits",
        "devices",
        "type",
        "target",
        "source",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["${A}", "80:80", "a:/a", "no", "service:a", "1s", "1g"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=3), st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_mapping_is_planned_or_refused(top: dict[str, Any], service: dict[str, Any]) -> None:
    document = {**top, "services": {"a": {"image": "x", **service}, "b": service}}
    for text in (json.dumps(top), json.dumps(document)):
        _either(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_planned_or_refused(text: str) -> None:
    _either(text)


def _either(text: str) -> None:
    try:
        found = plan(text, name="demo", directory=Path("/srv"), variables={}, read=lambda path: None)
    except InvalidRequest:
        return
    assert found.containers or "scale" in text or "replicas" in text


def test_two_secrets_of_one_file_keep_their_names(planned: Planned) -> None:
    text = """
    services: {web: {image: x, secrets: [a, b, {source: a, target: /etc/a}]}}
    secrets: {a: {file: /key}, b: {file: /key}}
    """
    [container] = planned(text).containers
    found = [(one.name, one.file, one.target) for one in container.spec.secrets]
    assert found == [("a", "/key", ""), ("b", "/key", ""), ("a.2", "/key", "/etc/a")]
