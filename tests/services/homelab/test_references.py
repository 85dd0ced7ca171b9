"""Names of images."""

from __future__ import annotations

import pytest

from services.homelab.references import digest_of, familiar, repository


@pytest.mark.parametrize(
    ("reference", "whole"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1", "docker.io/library/busybox:1"),
        ("docker.io/library/busybox:1", "docker.io/library/busybox:1"),
        ("index.docker.io/library/busybox:1", "docker.io/library/busybox:1"),
        ("grafana/grafana", "docker.io/grafana/grafana:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("127.0.0.1:5000/a/b:2", "127.0.0.1:5000/a/b:2"),
        ("ghcr.io/a/b@sha256:12", "ghcr.io/a/b@sha256:12"),
        ("ghcr.io/a/b:1@sha256:12", "ghcr.io/a/b@sha256:12"),
    ],
)
def test_short_names_mean_the_hub(reference: str, whole: str) -> None:
    assert familiar(reference) == whole
    assert whole.startswith(repository(reference))


def test_the_digest_is_that_of_the_references_own_registry() -> None:
    digests = ["registry.lan:5000/busybox@sha256:aa", "docker.io/library/busybox@sha256:bb"]
    assert digest_of(digests, "busybox:1") == "sha256:bb"
    assert digest_of(digests, "registry.lan:5000/busybox") == "sha256:aa"
    assert digest_of(digests, "other") == ""
