"""Names of images in one form."""

from __future__ import annotations

import pytest

from services.homelab.containers.image_names import is_identifier, short

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("busybox", "busybox:latest"),
        ("busybox:1", "busybox:1"),
        ("docker.io/library/busybox:1", "busybox:1"),
        ("docker.io/grafana/grafana", "grafana/grafana:latest"),
        ("localhost:5000/web", "localhost:5000/web:latest"),
        ("ghcr.io/a/b:2", "ghcr.io/a/b:2"),
        (f"busybox:1@{DIGEST}", f"busybox:1@{DIGEST}"),
        (DIGEST, DIGEST),
        ("", ""),
    ],
)
def test_one_form(written: str, compared: str) -> None:
    assert short(written) == compared
    assert short(compared) == compared


def test_an_id_is_no_name() -> None:
    assert is_identifier(DIGEST)
    assert not is_identifier(f"busybox@{DIGEST}")
    assert not is_identifier("sha256:1")
