"""Containers as a compose file, for compose's own tools or a Stack. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers.creation import RESTARTS
from services.homelab.exports.exported import Exported, Note, unsaid

_PULLS = {pb.PULL_POLICY_ALWAYS: "always", pb.PULL_POLICY_NEVER: "never", pb.PULL_POLICY_MISSING: "missing"}
# Fields that are called alike, or nearly, and have the same values.
_SAME = {
    "image": "image",
    "user": "user",
    "read_only": "read_only",
    "privileged": "privileged",
    "hostname": "hostname",
    "working_dir": "working_dir",
    "init": "init",
    "tty": "tty",
    "stdin_open": "stdin_open",
    "stop_signal": "stop_signal",
    "shm_size": "shm_size",
    "pid_mode": "pid",
    "ipc_mode": "ipc",
    "runtime": "runtime",
}
_LISTS = {
    "command": "command",
    "entrypoint": "entrypoint",
    "environment_files": "env_file",
    "groups": "group_add",
    "cap_add": "cap_add",
    "cap_drop": "cap_drop",
    "security_options": "security_opt",
    "devices": "devices",
    "extra_hosts": "extra_hosts",
    "dns": "dns",
}
_LIMITS = {
    "memory": "mem_limit",
    "memory_reservation": "mem_reservation",
    "cpu_shares": "cpu_shares",
    "cpuset": "cpuset",
    "pids": "pids_limit",
}


def document(containers: Sequence[Exported]) -> tuple[dict[str, Any], list[Note]]:
    """The file's content, and what can't be said in it."""
    networks = {one.network for container in containers for one in container.spec.networks}
    volumes = {
        mount.source
        for container in containers
        for mount in container.spec.mounts
        if mount.type != pb.MOUNT_TYPE_BIND and mount.source
    }
    secrets: dict[str, dict[str, str]] = {}
    found: dict[str, Any] = {"services": {one.name: _service(one, secrets) for one in containers}}
    for key, names in (("networks", networks), ("volumes", volumes)):
        if names:
            # Who made them keeps them.
            found[key] = {name: {"name": name, "external": True} for name in sorted(names)}
    if secrets:
        found["secrets"] = secrets
    notes = [note for one in containers for note in unsaid(one, ("update", "credentials_file"))]
    notes += [
        Note(one.name, "running", "compose starts all there is: leave the service out, or give it a profile")
        for one in containers
        if one.spec.HasField("running") and not one.spec.running
    ]
    escaped: dict[str, Any] = _escaped(found)
    return escaped, notes


def _service(container: Exported, secrets: dict[str, dict[str, str]]) -> dict[str, Any]:
    spec = container.spec
    found: dict[str, Any] = {"container_name": container.name}
    found |= {word: getattr(spec, name) for name, word in _SAME.items() if spec.HasField(name)}  # type: ignore[arg-type]
    found |= {word: list(values) for name, word in _LISTS.items() if (values := getattr(spec, name))}
    if spec.pull in _PULLS:
        found["pull_policy"] = _PULLS[spec.pull]
    for name in ("environment", "labels", "sysctls"):
        if values := getattr(spec, name):
            found[name] = dict(sorted(values.items()))
    if spec.tmpfs:
        found["tmpfs"] = [f"{path}:{options}" if options else path for path, options in spec.tmpfs.items()]
    if spec.ulimits:
        found["ulimits"] = {name: _ulimit(text) for name, text in sorted(spec.ulimits.items())}
    if spec.ports:
        found["ports"] = [_port(port) for port in spec.ports]
    if spec.mounts:
        found["volumes"] = [_mount(mount) for mount in spec.mounts]
    if spec.secrets:
        found["secrets"] = [_secret(container.name, one, secrets) for one in spec.secrets]
    if spec.networks:
        found["networks"] = {one.network: _attachment(one) for one in spec.networks}
    else:
        found["network_mode"] = spec.network_mode or "bridge"
    if spec.HasField("stop_grace"):
        found["stop_grace_period"] = f"{spec.stop_grace}s"
    if spec.HasField("restart"):
        found["restart"] = _restart(spec.restart)
    if spec.HasField("health_check"):
        found["healthcheck"] = _health_check(spec.health_check)
    if spec.HasField("logging"):
        found["logging"] = {"driver": spec.logging.driver, "options": dict(spec.logging.options)}
    if spec.HasField("gpus"):
        found["deploy"] = {"resources": {"reservations": {"devices": [_gpus(spec.gpus)]}}}
    limits = spec.limits
    found |= {word: getattr(limits, name) for name, word in _LIMITS.items() if limits.HasField(name)}  # type: ignore[arg-type]
    if limits.HasField("cpu_millis"):
        found["cpus"] = limits.cpu_millis / 1000
    return found


def _ulimit(text: str) -> Any:
    soft, _, hard = text.partition(":")
    return {"soft": int(soft), "hard": int(hard)} if hard else int(soft)


def _port(port: pb.Port) -> dict[str, Any]:
    found: dict[str, Any] = {"target": port.container, "protocol": port.protocol or "tcp"}
    if port.HasField("host"):
        found["published"] = str(port.host)
    if port.address:
        found["host_ip"] = port.address
    return found


def _mount(mount: pb.ContainerMount) -> dict[str, Any]:
    bind = mount.type == pb.MOUNT_TYPE_BIND
    found: dict[str, Any] = {"type": "bind" if bind else "volume", "target": mount.target}
    if mount.source:
        found["source"] = mount.source
    if mount.read_only:
        found["read_only"] = True
    if bind:
        found["bind"] = {"create_host_path": mount.create_source}
        if mount.propagation:
            found["bind"]["propagation"] = mount.propagation
    return found


def _secret(container: str, secret: pb.Secret, known: dict[str, dict[str, str]]) -> dict[str, str]:
    """Its reference; what is called alike and is another file gets a name of its own."""
    declared = {"file": secret.file}
    name = secret.name
    if known.setdefault(name, declared) != declared:
        name = f"{container}-{secret.name}"
        known[name] = declared
        return {"source": name, "target": secret.target or secret.name}
    return {"source": name, "target": secret.target} if secret.target else {"source": name}


def _attachment(one: pb.NetworkAttachment) -> dict[str, Any]:
    found: dict[str, Any] = {"aliases": list(one.aliases)} if one.aliases else {}
    for name in ("ipv4_address", "ipv6_address"):
        if value := getattr(one, name):
            found[name] = value
    return found


def _restart(restart: pb.Restart) -> str:
    word = RESTARTS.get(restart.condition, "no")
    return f"{word}:{restart.maximum_retries}" if restart.HasField("maximum_retries") else word


def _health_check(check: pb.HealthCheck) -> dict[str, Any]:
    if check.disabled:
        return {"disable": True}
    found: dict[str, Any] = {}
    if len(check.command) == 1 and not check.no_shell:
        found["test"] = check.command[0]
    elif check.command:
        found["test"] = ["CMD", *check.command]
    for name in ("interval", "timeout", "start_period"):
        if check.HasField(name):
            found[name] = f"{getattr(check, name)}ms"
    if check.HasField("retries"):
        found["retries"] = check.retries
    return found


def _gpus(gpus: pb.Gpus) -> dict[str, Any]:
    found: dict[str, Any] = {"capabilities": list(gpus.capabilities) or ["gpu"]}
    if gpus.ids:
        found["device_ids"] = list(gpus.ids)
    else:
        found["count"] = gpus.count if gpus.HasField("count") else "all"
    if gpus.driver:
        found["driver"] = gpus.driver
    return found


def _escaped(value: Any) -> Any:
    """Variables begin with $ in a compose file, also where a value comes from elsewhere."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _escaped(one) for key, one in value.items()}
    if isinstance(value, Iterable):
        return [_escaped(one) for one in value]
    return value
