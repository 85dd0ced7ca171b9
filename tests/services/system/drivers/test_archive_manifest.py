"""Manifests: read back as they were written; what is none, or is of a later format, is refused."""

from __future__ import annotations

import io
import json
from dataclasses import asdict

import pytest

from common.errors import WrongState
from services.system.drivers.archive_manifest import FORMAT, Entry, Manifest, parsed


def test_what_was_written_is_read() -> None:
    manifest = Manifest(
        1.5, "host", [Entry("a", "file", 0o600, 3, "00"), Entry("b", "link", target="a")], ["c"]
    )
    raw = json.dumps(asdict(manifest)).encode()

    assert parsed(io.BytesIO(raw), len(raw)) == manifest


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "entries": [{"path": "a"}]}', b'{"format": "one"}'],
)
def test_what_is_none(raw: bytes) -> None:
    with pytest.raises(WrongState, match="its manifest can't be read"):
        parsed(io.BytesIO(raw), len(raw))


def test_none_at_all_and_one_that_is_far_too_large() -> None:
    for stream, size in ((None, 0), (io.BytesIO(b"{}"), 1 << 30)):
        with pytest.raises(WrongState, match="its manifest can't be read"):
            parsed(stream, size)


def test_a_later_format() -> None:
    raw = json.dumps({**asdict(Manifest(1.0, "h")), "format": FORMAT + 1}).encode()
    with pytest.raises(WrongState, match=f"format {FORMAT + 1}") as raised:
        parsed(io.BytesIO(raw), len(raw))
    assert "version of nixcc" in raised.value.next_step
