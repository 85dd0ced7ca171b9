"""What a container remembers of its making."""

from __future__ import annotations

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import spec_label

SPEC = pb.Container(image="a:1", command=["x"], limits=pb.ContainerLimits(memory=7), user="me")


def test_there_and_back() -> None:
    assert spec_label.read({spec_label.SPEC: spec_label.written(SPEC)}) == SPEC


def test_what_can_not_be_read_was_not_made_here() -> None:
    for text in ("", "{", "[]", '{"image": 3}'):
        assert spec_label.read({spec_label.SPEC: text}) is None
    assert spec_label.read({spec_label.SPEC: '{"image": "a:1", "later": true}'}) == pb.Container(image="a:1")


def test_what_changes_on_a_living_one_is_as_seen() -> None:
    seen = pb.Container(
        image="a:1", command=["y"], limits=pb.ContainerLimits(memory=8), running=True, tty=True
    )
    found = spec_label.overlaid(seen, SPEC)
    assert (list(found.command), found.user, found.limits.memory, found.running) == (["x"], "me", 8, True)


def test_files_are_known_again_and_not_guessed() -> None:
    digest = spec_label.digest([b"A=1", b"B=2"], "salt")
    assert spec_label.matches(digest, [b"A=1", b"B=2"])
    assert not spec_label.matches(digest, [b"A=1B=", b"2"])
    assert digest != spec_label.digest([b"A=1", b"B=2"], "other")
    assert "A=1" not in digest
