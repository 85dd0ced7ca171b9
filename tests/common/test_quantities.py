"""Quantities as people write them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.quantities import FILE_MODE_MAX, INT64_MAX, fold, format_quantity
from nixcc.resource.v1 import options_pb2

BYTES = options_pb2.UNIT_BYTES
MS = options_pb2.UNIT_MILLISECONDS
SECONDS = options_pb2.UNIT_SECONDS
MODE = options_pb2.UNIT_FILE_MODE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (4096, 4096),
        (0, 0),
        (4096.0, 4096),
        ("4096", 4096),
        ("4096B", 4096),
        ("512MiB", 512 << 20),
        ("512Mi", 512 << 20),
        ("512MIB", 512 << 20),
        ("512 MiB", 512 << 20),
        (" 1KiB ", 1024),
        ("1.5GiB", 3 << 29),
        ("10GB", 10**10),
        ("10G", 10**10),
        ("1k", 1000),
        ("1K", 1000),
        ("1KB", 1000),
        ("2T", 2 * 10**12),
        ("2TiB", 2 << 40),
        ("3PB", 3 * 10**15),
        ("3Pi", 3 << 50),
        ("7EiB", 7 << 60),
        ("0.1kB", 100),
        ("0.0009765625KiB", 1),
        (INT64_MAX, INT64_MAX),
        (str(INT64_MAX), INT64_MAX),
    ],
)
def test_sizes(text: object, expected: int) -> None:
    assert fold(BYTES, text) == expected


@pytest.mark.parametrize(
    ("unit", "text", "expected"),
    [
        (MS, "250ms", 250),
        (MS, "2s", 2000),
        (MS, "0.3s", 300),
        (MS, "1h30m", 5_400_000),
        (MS, "1h 30m 5s", 5_405_000),
        (MS, "1d", 86_400_000),
        (MS, "3000us", 3),
        (MS, 250, 250),
        (MS, "250", 250),
        (MS, "0s", 0),
        (SECONDS, "90s", 90),
        (SECONDS, "5m", 300),
        (SECONDS, "1.5d", 129_600),
        (SECONDS, "2w", 1_209_600),
        (SECONDS, "3000ms", 3),
    ],
)
def test_durations(unit: options_pb2.Unit.ValueType, text: object, expected: int) -> None:
    assert fold(unit, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("0644", 0o644), ("644", 0o644), ("0o644", 0o644), ("04755", 0o4755), ("0000", 0)]
)
def test_file_modes(text: str, expected: int) -> None:
    assert fold(MODE, text) == expected


@pytest.mark.parametrize("value", [644, 420, 0, 644.0])
def test_an_unquoted_file_mode_is_refused_with_the_reason(value: object) -> None:
    with pytest.raises(ValueError, match=r'must be quoted: write "0644".*YAML 1\.1 reads 0644 as 420'):
        fold(MODE, value)


@pytest.mark.parametrize(
    ("unit", "value", "why"),
    [
        (BYTES, "-1", "negative"),
        (BYTES, -1, "negative"),
        (BYTES, "-5GiB", "negative"),
        (BYTES, "", 'such as "512MiB"'),
        (BYTES, "-", "is not a size"),
        (BYTES, "5XB", "is not a size"),
        (BYTES, "5iB", "is not a size"),
        (BYTES, "1,5GiB", "is not a size"),
        (BYTES, "1e3", "is not a size"),
        (BYTES, "0x10", "is not a size"),
        (BYTES, "1_000", "is not a size"),
        (BYTES, "٣GB", "is not a size"),
        (BYTES, "5\nGiB", "is not a size"),
        (BYTES, "5Mb", "write '5MB'"),
        (BYTES, "5mib", "write '5MiB'"),
        (BYTES, "1.5", "nothing is rounded"),
        (BYTES, 1.5, "not a whole number"),
        (BYTES, float("nan"), "not a whole number"),
        (BYTES, float("inf"), "not a whole number"),
        (BYTES, 1e300, "too large"),
        (BYTES, INT64_MAX + 1, "too large: at most 9223372036854775807 bytes"),
        (BYTES, "8EiB", "too large"),
        (BYTES, "1" * 10_000, "too long"),
        (BYTES, True, "not a boolean"),
        (BYTES, None, "not nothing"),
        (BYTES, ["5"], "not a list"),
        (BYTES, {}, "not an object"),
        (MS, "0.0001s", "no whole number of milliseconds"),
        (MS, "1us", "no whole number of milliseconds"),
        (MS, "30m1h", "largest first"),
        (MS, "1h1h", "largest first"),
        (MS, "5", None),
        (MS, "5 parsecs", 'such as "250ms"'),
        (MS, "1H", "is not a duration"),
        (MS, "-2s", "negative"),
        (SECONDS, "250ms", "no whole number of seconds"),
        (SECONDS, "300000000y", "is not a duration"),
        (SECONDS, "99999999999999999999s", "too large"),
        (MODE, "0888", "quoted octal digits"),
        (MODE, "rw-r--r--", "quoted octal digits"),
        (MODE, "-0644", "quoted octal digits"),
        (MODE, "10000", "the largest mode"),
        (MODE, "", "quoted octal digits"),
        (MODE, True, "not a boolean"),
        (options_pb2.UNIT_UNSPECIFIED, "x", "a whole number, such as 3"),
    ],
)
def test_what_is_refused(unit: options_pb2.Unit.ValueType, value: object, why: str | None) -> None:
    if why is None:
        assert fold(unit, value) == 5
        return
    with pytest.raises(ValueError) as caught:
        fold(unit, value)
    assert why in str(caught.value)
    assert len(str(caught.value)) < 300


sizes = st.one_of(
    st.integers(0, INT64_MAX),
    st.builds(
        lambda n, b, p: min(n * b**p, INT64_MAX),
        st.integers(0, 4096),
        st.sampled_from([1000, 1024]),
        st.integers(0, 6),
    ),
)


@given(st.sampled_from([BYTES, MS, SECONDS]), sizes)
def test_folding_what_was_formatted_gives_the_same(unit: options_pb2.Unit.ValueType, value: int) -> None:
    assert fold(unit, format_quantity(unit, value)) == value


@given(st.integers(0, FILE_MODE_MAX))
def test_folding_a_formatted_mode_gives_the_same(value: int) -> None:
    text = format_quantity(MODE, value)
    assert len(text) == 4
    assert fold(MODE, text) == value


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6 - 1),
    st.sampled_from("kmgtpeKMGTPE"),
    st.sampled_from(["", "B", "i", "iB", "I", "IB"]),
)
def test_sizes_are_exact_or_refused(whole: int, part: int, prefix: str, tail: str) -> None:
    text = f"{whole}.{part:06d}{prefix}{tail}"
    base = 1024 if "i" in tail.lower() else 1000
    exact = Fraction(whole * 10**6 + part, 10**6) * base ** ("kmgtpe".index(prefix.lower()) + 1)
    if exact.denominator == 1 and exact <= INT64_MAX:
        assert fold(BYTES, text) == exact
    else:
        with pytest.raises(ValueError, match=r"nothing is rounded|too large"):
            fold(BYTES, text)


@given(st.sampled_from([BYTES, MS, SECONDS, MODE]), st.text())
def test_any_text_is_folded_into_range_or_refused(unit: options_pb2.Unit.ValueType, text: str) -> None:
    try:
        value = fold(unit, text)
    except ValueError:
        return
    assert 0 <= value <= INT64_MAX


def test_formatting_prefers_round_numbers() -> None:
    assert [format_quantity(BYTES, n) for n in (0, 1, 1000, 1024, 1536, 512 << 20, 10**10, -5)] == [
        "0", "1", "1KB", "1KiB", "1536", "512MiB", "10GB", "-5",
    ]  # fmt: skip
    assert [format_quantity(MS, n) for n in (0, 250, 2000, 5_400_000, 90_061_001)] == [
        "0s", "250ms", "2s", "1h30m", "1d1h1m1s1ms",
    ]  # fmt: skip
    assert format_quantity(SECONDS, 90) == "1m30s"
    assert format_quantity(MODE, 0o4755) == "4755"
    assert format_quantity(MODE, 0o644) == "0644"
    assert format_quantity(options_pb2.UNIT_UNSPECIFIED, 7) == "7"
