"""What a container is made from beside its spec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import Forbidden, NotFound
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import spec_label
from services.homelab.containers.material import Materials


def bind(source: Path, **more: bool) -> dict[str, object]:
    return {"target": "/a", "source": str(source), "type": "MOUNT_TYPE_BIND", **more}


def test_variables_of_later_files_win_and_changes_are_noticed(
    tmp_path: Path, made: Callable[..., pb.Container]
) -> None:
    (tmp_path / "a").write_text("A=1\nB=1")
    (tmp_path / "b").write_text("B=2")
    spec = made(environmentFiles=[str(tmp_path / "a"), str(tmp_path / "b")])
    found = Materials().gather(spec, {})
    assert found.environment == {"A": "1", "B": "2"}
    labels = {spec_label.FILES: found.digest}
    assert not Materials().is_stale(spec, labels)
    assert not Materials().is_stale(spec, {})
    (tmp_path / "b").write_text("B=3")
    assert Materials().is_stale(spec, labels)
    (tmp_path / "b").unlink()
    assert not Materials().is_stale(spec, labels), "what can't be read says nothing"


def test_what_is_missing_is_told_before_anything_is_made(
    tmp_path: Path, made: Callable[..., pb.Container]
) -> None:
    for fields, message in (
        ({"mounts": [bind(tmp_path / "absent")]}, "what is mounted"),
        ({"secrets": [{"name": "key", "file": str(tmp_path / "absent")}]}, "the secret key"),
        ({"environmentFiles": [str(tmp_path / "absent")]}, "the file of variables"),
        ({"securityOptions": [f"seccomp={tmp_path}/absent"]}, "the seccomp profile"),
    ):
        with pytest.raises(NotFound, match=message):
            Materials().gather(made(**fields), {})


def test_folders_that_are_asked_for_are_made(tmp_path: Path, made: Callable[..., pb.Container]) -> None:
    Materials().gather(made(mounts=[bind(tmp_path / "new/data", createSource=True)]), {})
    assert (tmp_path / "new/data").is_dir()


def test_a_path_outside_what_is_allowed(tmp_path: Path, made: Callable[..., pb.Container]) -> None:
    (tmp_path / "srv").mkdir()
    materials = Materials([tmp_path / "srv"])
    spec = made(
        mounts=[bind(tmp_path)],
        secrets=[{"name": "key", "file": "/etc/shadow"}],
        environmentFiles=[f"{tmp_path}/srv/../env"],
    )
    fields = [one.field for one in materials.outside(spec)]
    assert fields == ["mounts[0].source", "secrets[0].file", "environment_files[0]"]
    inside = made(mounts=[bind(tmp_path / "srv/data")])
    assert not materials.outside(inside)
    # Somebody puts a link there after it was checked.
    (tmp_path / "srv/data").symlink_to("/etc")
    with pytest.raises(Forbidden, match=r"mounts\[0\].source"):
        materials.gather(inside, {})


def test_a_seccomp_profile_must_lie_where_it_may(tmp_path: Path, made: Callable[..., pb.Container]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "profile.json").write_text("{}")
    spec = made(securityOptions=[f"seccomp={tmp_path}/profile.json", "seccomp=unconfined"])
    only = Materials([tmp_path / "in"])
    assert [one.field for one in only.outside(spec)] == ["security_options[0]"]
    with pytest.raises(Forbidden):
        only.gather(spec, {})
    assert list(Materials().gather(spec, {}).profiles.values()) == ["{}"]
