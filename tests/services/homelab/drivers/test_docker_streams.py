"""Frames and lines of output, however they come."""

from __future__ import annotations

from services.homelab.drivers.docker_streams import frames, lines, messages, moment, terminal_lines


def test_frames_that_come_in_any_pieces() -> None:
    stamp = b"2026-11-24T05:00:00.123456789Z "
    raw = b"".join(
        bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text
        for stream, text in ((1, stamp + b"one\n"), (2, stamp + b"bad"), (1, stamp + b"two\r\n"), (2, b"!\n"))
    )
    for size in (1, 3, len(raw)):
        pieces = [raw[start : start + size] for start in range(0, len(raw), size)]
        found = sorted((line.stderr, line.line) for line in lines(messages(pieces)))
        assert found == [(False, b"one"), (False, b"two"), (True, b"bad!")]
    assert moment("2026-11-24T05:00:00.1Z").microsecond == 100_000
    assert moment("2026-11-24T05:00:00Z").microsecond == 0
    assert b"".join(data for _, data in frames([raw])) == b"".join(data for _, data in messages([raw]))


def test_a_long_line_has_no_times_in_the_middle() -> None:
    stamp = b"2026-11-24T05:00:00.123456789Z "
    texts = [stamp + b"x" * 16_384, stamp + b"x" * 16_384, stamp + b"x y\n", stamp + b"end\n"]
    raw = b"".join(bytes([1, 0, 0, 0]) + len(text).to_bytes(4, "big") + text for text in texts)
    found = [line.line for line in lines(messages([raw[:20_000], raw[20_000:]]))]
    assert found == [b"x" * 32_769 + b" y", b"end"]


def test_the_output_of_a_terminal_comes_in_any_pieces() -> None:
    raw = b"2026-11-24T05:00:00.5Z one two\r\n2026-11-24T05:00:01Z \r\n2026-11-24T05:00:02Z rest"
    for size in (1, 7, len(raw)):
        pieces = [raw[start : start + size] for start in range(0, len(raw), size)]
        found = [(line.time.second, line.line) for line in terminal_lines(pieces)]
        assert found == [(0, b"one two"), (1, b""), (2, b"rest")]
