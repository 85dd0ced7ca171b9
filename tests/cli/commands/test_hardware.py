"""`ncc hardware`."""

from __future__ import annotations

from typing import Any


def test_a_scan_says_how_long_it_took(ncc: Any) -> None:
    scan = ncc.json("hardware")

    assert 0 < scan["seconds"] < 10
    assert f"{float(scan['duration'].removesuffix('s')):.6f}" == f"{scan['seconds']:.6f}"
    assert "scanned in " in ncc.out("hardware")


def test_one_part_alone(ncc: Any) -> None:
    scan = ncc.json("hardware", "--part", "network")
    assert "lo" in [row["name"] for row in scan["network_interfaces"]]
    assert [row["part"] for row in scan["timings"]] == ["network"]

    done = ncc.run("hardware", "--part", "frobnicator")
    assert done.returncode == 2
    assert "choose among" in done.stderr


def test_recommendations(ncc: Any) -> None:
    assert isinstance(ncc.json("hardware", "recommend"), dict)
    assert ncc.run("hardware", "recommend").returncode == 0
