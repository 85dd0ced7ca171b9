"""What a service may use: processors, memory, devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.homelab.compose import field_lists, health
from services.homelab.compose.reading import Reading
from services.homelab.compose.scalars import integer, mapping, number, sequence, size, string, strings


def deploy(value: Any, path: str, at: Reading) -> None:
    for key, one in mapping(value).items():
        where = f"{path}.{key}"
        if key in field_lists.SWARM:
            at.findings.ignored(where, "is for swarms")
        elif key == "resources":
            _resources(mapping(one), where, at)
        elif key == "restart_policy":
            if at.service.get("restart") is None:
                policy = health.restart_policy(one, where, at.findings)
                at.found.restart.CopyFrom(policy)
            else:
                at.findings.ignored(where, "restart goes before it")
        elif key != "replicas" and not key.startswith("x-"):
            at.findings.unsupported(where, "compose knows no such field of deploy")


def _resources(value: Mapping[str, Any], path: str, at: Reading) -> None:
    limits = at.found.limits
    at.findings.unknown(value, ("limits", "reservations"), path)
    for key, one in mapping(value.get("limits")).items():
        if key == "cpus":
            limits.cpu_millis = round(number(one) * 1000)
        elif key == "memory":
            limits.memory = size(one)
        elif key == "pids":
            if (amount := integer(one)) > 0:
                limits.pids = amount
        else:
            at.findings.unsupported(f"{path}.limits.{key}", "is not offered here")
    for key, one in mapping(value.get("reservations")).items():
        if key == "memory":
            limits.memory_reservation = size(one)
        elif key == "devices":
            for index, device in enumerate(sequence(one)):
                _gpu(mapping(device), f"{path}.reservations.devices[{index}]", at)
        else:
            at.findings.ignored(f"{path}.reservations.{key}", "nothing is held back for it")


def _gpu(device: Mapping[str, Any], path: str, at: Reading) -> None:
    capabilities = strings(device.get("capabilities"))
    if "gpu" not in capabilities:
        at.findings.unsupported(path, "only graphics cards can be reserved")
        return
    at.findings.unknown(device, ("capabilities", "device_ids", "driver", "count", "options"), path)
    if device.get("options"):
        at.findings.unsupported(f"{path}.options", "the driver's own are taken")
    gpus = at.found.gpus
    gpus.capabilities.extend(capabilities)
    gpus.ids.extend(strings(device.get("device_ids")))
    if device.get("driver"):
        gpus.driver = string(device["driver"])
    count = device.get("count")
    if count is not None and count != "all" and integer(count) >= 0:
        gpus.count = integer(count)


def gpus(value: Any, path: str, at: Reading) -> None:
    if value == "all":
        at.found.gpus.capabilities.append("gpu")
        return
    for index, device in enumerate(sequence(value)):
        _gpu({"capabilities": ["gpu"], **mapping(device)}, f"{path}[{index}]", at)


def devices(value: Any, path: str, at: Reading) -> None:
    for index, one in enumerate(sequence(value)):
        if isinstance(one, dict):
            at.findings.unknown(one, ("source", "target", "permissions"), f"{path}[{index}]")
            parts = [one.get("source"), one.get("target"), one.get("permissions")]
            text = ":".join(string(part) for part in parts if part)
        else:
            text = string(one)
        if text.startswith("/"):
            at.found.devices.append(text)
        else:
            at.findings.unsupported(f"{path}[{index}]", "devices of other sorts (CDI) are not offered here")


def shm_size(value: Any, path: str, at: Reading) -> None:
    at.found.shm_size = size(value)


def cpu_quota(value: Any, path: str, at: Reading) -> None:
    period = integer(at.service.get("cpu_period") or 100_000)
    if (quota := integer(value)) > 0 and period > 0:
        at.found.limits.cpu_millis = quota * 1000 // period


def cpu_period(value: Any, path: str, at: Reading) -> None:
    integer(value)  # counts with cpu_quota
