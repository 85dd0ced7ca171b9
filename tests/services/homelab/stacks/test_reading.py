"""A Stack's compose file becomes what is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import InvalidRequest
from nixcc.homelab.v1 import container_pb2
from nixcc.homelab.v1 import stack_pb2 as pb
from services.homelab.containers.material import Materials
from services.homelab.stacks.reading import fill, plan_text

FILE = "services: {web: {image: 'docker.io/library/nginx:${TAG:-1}', volumes: ['./d:/d', 'v:/v']}}\nvolumes: {v: {}}"


def test_from_text_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text(FILE)
    (tmp_path / ".env").write_text("TAG=2")
    spec = pb.Stack(compose_file=str(tmp_path / "compose.yml"))
    assert not fill("shop", spec, Materials())
    container = spec.containers[0]
    assert (container.name, container.spec.image) == ("shop-web-1", "nginx:2")
    assert container.spec.mounts[0].source == str(tmp_path / "d")
    assert container.spec.running
    assert [volume.name for volume in spec.volumes] == ["shop_v"]
    again = pb.Stack()
    again.CopyFrom(spec)
    assert not fill("shop", again, Materials())
    assert again == spec
    stopped = pb.Stack(compose=FILE, project_directory="/srv", variables={"TAG": "3"}, running=False)
    assert not fill("shop", stopped, Materials())
    assert (stopped.containers[0].spec.image, stopped.containers[0].spec.running) == ("nginx:3", False)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (pb.Stack(), "either"),
        (pb.Stack(compose="a", compose_file="/b"), "either"),
        (pb.Stack(compose_file="/absent/compose.yml"), "/absent/compose.yml is not there"),
        (pb.Stack(compose="services: {a: {image: x, foo: 1}}"), "services.a.foo"),
        (pb.Stack(compose="services: {a: {image: x, depends_on: [a]}}"), "a → a"),
        (pb.Stack(compose="services: {a: {image: x, volumes: ['/etc:/e']}}"), "is not in /srv"),
        (pb.Stack(compose="services: {a: {image: x, container_name: b}}"), "the engine takes no container"),
    ],
)
def test_what_is_refused(spec: pb.Stack, says: str) -> None:
    found = fill("shop", spec, Materials([Path("/srv")]))
    assert says in " ".join(one.description for one in found)


def test_all_that_can_have_newer_images_gets_them() -> None:
    text = f"""
    services:
      a: {{image: "a:1"}}
      b: {{image: "b@sha256:{"0" * 64}"}}
      c: {{image: "c:1", pull_policy: never}}
    """
    spec = pb.Stack(compose=text, project_directory="/srv", update=container_pb2.UPDATE_POLICY_AUTO)
    assert not fill("shop", spec, Materials())
    assert [one.service for one in spec.containers if one.spec.update] == ["a"]


def test_what_is_wrong_names_file_line_variable_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "compose.yml"
    path.write_text("services:\n  a:\n    image: x:${TAG}\n")
    (found,) = fill("shop", pb.Stack(compose_file=str(path)), Materials())
    assert found.description == (
        f"{path}: services.a.image: the variable TAG is not set; "
        "set it in variables or .env, or write ${TAG:-} (line 3)"
    )


def test_a_name_for_what_has_none() -> None:
    def named(name: str, directory: str) -> str:
        return plan_text(
            "services: {a: {image: x}}",
            name=name,
            directory=directory,
            variables={},
            profiles=(),
            environment_files=(),
            keep_in=Path("/state"),
        ).name

    assert named("", "/srv/My Shop") == "myshop"
    assert named("", "/") == "stack"
    assert named("other", "/srv/x") == "other"
    with pytest.raises(InvalidRequest, match="relative paths"):
        named("x", "relative")


def test_volumes_of_a_file_lead_nowhere_else(tmp_path: Path) -> None:
    text = """
services: {web: {image: a, volumes: ['v:/v']}}
volumes: {v: {driver_opts: {type: none, o: bind, device: /etc}}}
"""
    found = fill("shop", pb.Stack(compose=text, project_directory=str(tmp_path)), Materials([tmp_path]))
    assert [one.description for one in found] == [f"volumes.shop_v: options[device]: is not in {tmp_path}"]
