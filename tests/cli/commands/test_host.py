"""`ncc system`, `ncc hardware`."""

from __future__ import annotations

from typing import Any

import yaml


def test_facts(ncc: Any) -> None:
    facts = ncc.json("system", "facts")

    assert facts["processors"] > 0
    assert yaml.safe_load(ncc.out("system", "-o", "yaml"))["boot_id"] == facts["boot_id"]
    assert facts["kernel"] in ncc.out("system")


def test_health_and_reboot(ncc: Any) -> None:
    health = ncc.json("system", "health")

    assert {"load", "memory", "file_systems"} <= set(health)
    assert ncc.out("system", "health").startswith("load ")
    assert isinstance(ncc.json("system", "reboot")["required"], bool)


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
