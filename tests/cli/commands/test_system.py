"""`ncc system`."""

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
