"""From a spec to the body of the engine's `POST /containers/create` (Docker Engine API 1.41). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import spec_label
from services.homelab.drivers.base import Json

SECRETS = "/run/secrets"
_NS = 1_000_000
RESTARTS = {
    pb.RESTART_CONDITION_NO: "no",
    pb.RESTART_CONDITION_ALWAYS: "always",
    pb.RESTART_CONDITION_ON_FAILURE: "on-failure",
    pb.RESTART_CONDITION_UNLESS_STOPPED: "unless-stopped",
}


@dataclass(frozen=True, slots=True)
class Material:
    """What a body needs beside the spec, read from the host when the container is made."""

    # Variables out of the environment's files, and the label that lets a change of them be noticed.
    environment: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    # seccomp profiles by path.
    profiles: Mapping[str, str] = field(default_factory=dict)
    # Volumes without a name that are carried over from the container before, by their place inside.
    volumes: Mapping[str, str] = field(default_factory=dict)


_NOTHING = Material()


def body(
    name: str, spec: pb.Container, labels: Mapping[str, str] | None = None, material: Material = _NOTHING
) -> Json:
    """The create body of a normalised spec; `name` is what the container is called in the end.

    `labels` come beside the spec's own and are no part of it.

    Only the first network is in it; the others are connected before the container starts.
    """
    config: Json = {"Image": spec.image, "Labels": _labels(name, spec, labels or {}, material)}
    _some(config, "Cmd", list(spec.command))
    _some(config, "Entrypoint", list(spec.entrypoint))
    environment = {**material.environment, **spec.environment}
    _some(config, "Env", [f"{name}={environment[name]}" for name in sorted(environment)])
    _given(config, spec, "user", "User")
    _given(config, spec, "working_dir", "WorkingDir")
    _given(config, spec, "hostname", "Hostname")
    _given(config, spec, "tty", "Tty")
    _given(config, spec, "stdin_open", "OpenStdin")
    _given(config, spec, "stop_signal", "StopSignal")
    _given(config, spec, "stop_grace", "StopTimeout")
    _some(config, "ExposedPorts", {port_key(port): {} for port in spec.ports})
    if spec.HasField("health_check"):
        config["Healthcheck"] = _health_check(spec.health_check)
    config["HostConfig"] = _host_config(spec, material)
    if spec.networks:
        first = spec.networks[0]
        config["NetworkingConfig"] = {"EndpointsConfig": {first.network: endpoint(first)}}
    return config


def endpoint(attachment: pb.NetworkAttachment) -> Json:
    """`EndpointConfig` of a network."""
    found: Json = {}
    _some(found, "Aliases", list(attachment.aliases))
    addresses: Json = {}
    _given(addresses, attachment, "ipv4_address", "IPv4Address")
    _given(addresses, attachment, "ipv6_address", "IPv6Address")
    _some(found, "IPAMConfig", addresses)
    return found


def update_body(spec: pb.Container, inspected: Json) -> Json:
    """The body of `/containers/NAME/update`: limits and restart policy, for what they are now."""
    found = _limits(spec.limits)
    now = inspected.get("HostConfig") or {}
    if "Memory" in found:
        # The engine refuses memory above memory and swap; what was its own choice moves along.
        memory, swap = int(now.get("Memory") or 0), int(now.get("MemorySwap") or 0)
        if swap > 0:
            found["MemorySwap"] = (
                found["Memory"] * 2 if swap == 2 * memory else found["Memory"] + swap - memory
            )
    if "NanoCpus" in found and now.get("CpuQuota"):
        # It was limited the other way, and the engine takes one of them only.
        period = int(now.get("CpuPeriod") or 100_000)
        found["CpuQuota"] = found.pop("NanoCpus") * period // 1_000_000_000
        found["CpuPeriod"] = period
    if spec.HasField("restart"):
        found["RestartPolicy"] = restart_policy(spec.restart)
    return found


def restart_policy(restart: pb.Restart) -> Json:
    """`RestartPolicy`."""
    return {
        "Name": RESTARTS.get(restart.condition, "no"),
        "MaximumRetryCount": restart.maximum_retries,
    }


def port_key(port: pb.Port) -> str:
    """`80/tcp`."""
    return f"{port.container}/{port.protocol or 'tcp'}"


def secret_target(secret: pb.Secret) -> str:
    """Where the container reads it."""
    target = secret.target or secret.name
    return target if target.startswith("/") else f"{SECRETS}/{target}"


def network_mode(spec: pb.Container) -> str:
    """`HostConfig.NetworkMode`; empty: the engine's default."""
    if spec.networks:
        return spec.networks[0].network
    return spec.network_mode


def _labels(name: str, spec: pb.Container, further: Mapping[str, str], material: Material) -> dict[str, str]:
    ours = {spec_label.SPEC: spec_label.written(spec), spec_label.NAME: name}
    found = {**spec.labels, **further, **ours}
    if material.digest:
        found[spec_label.FILES] = material.digest
    return found


def _health_check(check: pb.HealthCheck) -> Json:
    if check.disabled:
        return {"Test": ["NONE"]}
    found: Json = {}
    if len(check.command) == 1 and not check.no_shell:
        found["Test"] = ["CMD-SHELL", check.command[0]]
    elif check.command:
        found["Test"] = ["CMD", *check.command]
    for name, word in (("interval", "Interval"), ("timeout", "Timeout"), ("start_period", "StartPeriod")):
        if check.HasField(name):  # type: ignore[arg-type]
            found[word] = getattr(check, name) * _NS
    _given(found, check, "retries", "Retries")
    return found


def _host_config(spec: pb.Container, material: Material) -> Json:
    found: Json = {}
    if mode := network_mode(spec):
        found["NetworkMode"] = mode
    bindings: dict[str, list[Json]] = {}
    for port in spec.ports:
        host = {"HostIp": port.address, "HostPort": str(port.host) if port.HasField("host") else ""}
        bindings.setdefault(port_key(port), []).append(host)
    _some(found, "PortBindings", bindings)
    if spec.HasField("restart"):
        found["RestartPolicy"] = restart_policy(spec.restart)
    _some(found, "Mounts", _mounts(spec, material))
    _some(found, "Tmpfs", dict(spec.tmpfs))
    _some(found, "CapAdd", list(spec.cap_add))
    _some(found, "CapDrop", list(spec.cap_drop))
    _some(found, "GroupAdd", list(spec.groups))
    _some(found, "SecurityOpt", [_security(option, material) for option in spec.security_options])
    _some(found, "Devices", [_device(device) for device in spec.devices])
    _some(found, "Sysctls", dict(spec.sysctls))
    _some(found, "ExtraHosts", list(spec.extra_hosts))
    _some(found, "Dns", list(spec.dns))
    _some(found, "Ulimits", [_ulimit(name, spec.ulimits[name]) for name in sorted(spec.ulimits)])
    for name, word in (
        ("read_only", "ReadonlyRootfs"),
        ("privileged", "Privileged"),
        ("init", "Init"),
        ("shm_size", "ShmSize"),
        ("pid_mode", "PidMode"),
        ("ipc_mode", "IpcMode"),
        ("runtime", "Runtime"),
    ):
        _given(found, spec, name, word)
    if spec.HasField("logging"):
        found["LogConfig"] = {"Type": spec.logging.driver, "Config": dict(spec.logging.options)}
    if spec.HasField("gpus"):
        found["DeviceRequests"] = [_gpus(spec.gpus)]
    found.update(_limits(spec.limits))
    return found


def _limits(limits: pb.ContainerLimits) -> Json:
    found: Json = {}
    if limits.HasField("cpu_millis"):
        found["NanoCpus"] = limits.cpu_millis * 1_000_000
    for name, word in (
        ("cpu_shares", "CpuShares"),
        ("cpuset", "CpusetCpus"),
        ("memory", "Memory"),
        ("memory_reservation", "MemoryReservation"),
        ("pids", "PidsLimit"),
    ):
        _given(found, limits, name, word)
    return found


def _mounts(spec: pb.Container, material: Material) -> list[Json]:
    found = [_mount(mount, material.volumes.get(mount.target, "")) for mount in spec.mounts]
    named = {mount.target for mount in spec.mounts}
    for target in sorted(material.volumes.keys() - named):
        # The image itself keeps data there.
        found.append({"Type": "volume", "Source": material.volumes[target], "Target": target})
    for secret in spec.secrets:
        target = secret_target(secret)
        found.append({"Type": "bind", "Source": secret.file, "Target": target, "ReadOnly": True})
    return found


def _mount(mount: pb.ContainerMount, carried: str) -> Json:
    bind = mount.type == pb.MOUNT_TYPE_BIND
    found: Json = {"Type": "bind" if bind else "volume", "Target": mount.target}
    if source := mount.source or carried:
        found["Source"] = source
    if mount.HasField("read_only"):
        found["ReadOnly"] = mount.read_only
    if bind and mount.propagation:
        found["BindOptions"] = {"Propagation": mount.propagation}
    return found


def _security(option: str, material: Material) -> str:
    path = option.removeprefix("seccomp=")
    return f"seccomp={material.profiles[path]}" if path in material.profiles else option


def _device(device: str) -> Json:
    host, inside, permissions = device_parts(device)
    return {"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": permissions}


def device_parts(device: str) -> tuple[str, str, str]:
    """`/dev/a`, `/dev/a:/dev/b`, `/dev/a:rw` or `/dev/a:/dev/b:rw`: on the host, inside, what may be done."""
    host, *rest = device.split(":")
    permissions = rest.pop() if rest and not rest[-1].startswith("/") else "rwm"
    return host, rest[0] if rest else host, permissions


def _ulimit(name: str, text: str) -> Json:
    soft, _, hard = text.partition(":")
    return {"Name": name, "Soft": int(soft), "Hard": int(hard or soft)}


def _gpus(gpus: pb.Gpus) -> Json:
    found: Json = {"Driver": gpus.driver, "Capabilities": [list(gpus.capabilities) or ["gpu"]]}
    if gpus.ids:
        found["DeviceIDs"] = list(gpus.ids)
    else:
        found["Count"] = gpus.count if gpus.HasField("count") else -1
    return found


def _given(found: Json, message: Any, name: str, word: str) -> None:
    if message.HasField(name):
        found[word] = getattr(message, name)


def _some(found: Json, word: str, value: Mapping[str, Any] | Sequence[Any]) -> None:
    if value:
        found[word] = value
