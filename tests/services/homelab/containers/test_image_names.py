"""Ids and names of images."""

from __future__ import annotations

from services.homelab.containers.image_names import is_identifier


def test_an_id_is_no_name() -> None:
    assert is_identifier("sha256:" + "0" * 64)
    assert not is_identifier("busybox@sha256:" + "0" * 64)
    assert not is_identifier("sha256:1")
