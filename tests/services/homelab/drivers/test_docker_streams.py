"""Frames and lines of output, however they come."""

from __future__ import annotations

from services.homelab.drivers.docker_streams import frames, lines, moment


def test_frames_that_come_in_any_pieces() -> None:
    stamp = b"2026-11-24T05:00:00.123456789Z "
    raw = b"".join(
        bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text
        for stream, text in ((1, stamp + b"one\n"), (2, stamp + b"bad"), (1, stamp + b"two\r\n"), (2, b"!\n"))
    )
    for size in (1, 3, len(raw)):
        pieces = [raw[start : start + size] for start in range(0, len(raw), size)]
        found = sorted((line.stderr, line.line) for line in lines(frames(pieces)))
        assert found == [(False, b"one"), (False, b"two"), (True, b"bad!")]
    assert moment("2026-11-24T05:00:00.1Z").microsecond == 100_000
    assert moment("2026-11-24T05:00:00Z").microsecond == 0
