"""Containers as options of NixOS: `virtualisation.oci-containers`. Pure.

What the module has no option for is an argument of `docker run` or `podman run`, which both understand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers.creation import secret_target
from services.homelab.exports.exported import Exported, Note, unsaid

_TEXTS = {"user": "user", "hostname": "hostname", "working_dir": "workdir"}
_FLAGS = {"read_only": "--read-only", "privileged": "--privileged", "init": "--init", "tty": "--tty"}
_WORDS = {
    "groups": "--group-add",
    "cap_add": "--cap-add",
    "cap_drop": "--cap-drop",
    "security_options": "--security-opt",
    "devices": "--device",
    "extra_hosts": "--add-host",
    "dns": "--dns",
}
_VALUES = {
    "stop_signal": "--stop-signal",
    "shm_size": "--shm-size",
    "pid_mode": "--pid",
    "ipc_mode": "--ipc",
    "runtime": "--runtime",
}
_LIMITS = {
    "cpu_shares": "--cpu-shares",
    "cpuset": "--cpuset-cpus",
    "memory": "--memory",
    "memory_reservation": "--memory-reservation",
    "pids": "--pids-limit",
}
_PULLS = {pb.PULL_POLICY_ALWAYS: "always", pb.PULL_POLICY_NEVER: "never", pb.PULL_POLICY_MISSING: "missing"}


def options(containers: Sequence[Exported], backend: str = "") -> tuple[dict[str, Any], list[Note]]:
    """The options' tree, and what can't be said in it. `backend`: `docker` or `podman`; empty: not said."""
    found: dict[str, Any] = {"containers": {one.name: _container(one.spec) for one in containers}}
    if backend:
        found["backend"] = backend
    notes = [note for one in containers for note in unsaid(one, ("update", "credentials_file"))]
    for one in containers:
        notes += unsaid(
            one, ("restart",), "the container's unit of systemd starts it again whenever it ended"
        )
        if one.spec.gpus.driver:
            notes.append(Note(one.name, "gpus.driver", "has no counterpart"))
        if len(one.spec.networks) > 1 and any(
            each.aliases or each.ipv4_address or each.ipv6_address for each in one.spec.networks
        ):
            notes.append(
                Note(
                    one.name, "networks", "with several networks, names and addresses in them can't be given"
                )
            )
    return {"virtualisation": {"oci-containers": found}}, notes


def _container(spec: pb.Container) -> dict[str, Any]:
    found: dict[str, Any] = {"image": spec.image}
    command = list(spec.command)
    if spec.entrypoint:
        found["entrypoint"] = spec.entrypoint[0]
        command = [*spec.entrypoint[1:], *command]
    if command:
        found["cmd"] = command
    found |= {word: getattr(spec, name) for name, word in _TEXTS.items() if spec.HasField(name)}  # type: ignore[arg-type]
    for name, word in (("environment", "environment"), ("labels", "labels")):
        if values := getattr(spec, name):
            found[word] = dict(sorted(values.items()))
    if spec.environment_files:
        found["environmentFiles"] = list(spec.environment_files)
    if spec.ports:
        found["ports"] = [_port(port) for port in spec.ports]
    volumes = [_volume(mount) for mount in spec.mounts if mount.source]
    volumes += [f"{secret.file}:{secret_target(secret)}:ro" for secret in spec.secrets]
    if volumes:
        found["volumes"] = volumes
    if spec.HasField("logging"):
        found["log-driver"] = spec.logging.driver
    if spec.HasField("running") and not spec.running:
        found["autoStart"] = False
    if extra := [*_powers(spec), *_network(spec), *_limits(spec), *_health(spec.health_check)]:
        found["extraOptions"] = extra
    return found


def _port(port: pb.Port) -> str:
    address = f"[{port.address}]" if ":" in port.address else port.address
    before = f"{address}:{port.host or ''}:" if address else f"{port.host}:" if port.host else ""
    return f"{before}{port.container}/{port.protocol or 'tcp'}"


def _volume(mount: pb.ContainerMount) -> str:
    words = [*(["ro"] if mount.read_only else []), *([mount.propagation] if mount.propagation else [])]
    return ":".join([mount.source, mount.target, *([",".join(words)] if words else [])])


def _powers(spec: pb.Container) -> list[str]:
    found = [flag for name, flag in _FLAGS.items() if getattr(spec, name)]
    if spec.stdin_open:
        found.append("--interactive")
    if spec.pull in _PULLS:
        found.append(f"--pull={_PULLS[spec.pull]}")
    found += [f"{flag}={value}" for name, flag in _WORDS.items() for value in getattr(spec, name)]
    found += [f"{flag}={getattr(spec, name)}" for name, flag in _VALUES.items() if spec.HasField(name)]  # type: ignore[arg-type]
    if spec.HasField("stop_grace"):
        found.append(f"--stop-timeout={spec.stop_grace}")
    found += [f"--sysctl={name}={value}" for name, value in sorted(spec.sysctls.items())]
    found += [f"--ulimit={name}={value}" for name, value in sorted(spec.ulimits.items())]
    found += [f"--tmpfs={path}{f':{how}' if how else ''}" for path, how in sorted(spec.tmpfs.items())]
    found += [f"--volume={mount.target}" for mount in spec.mounts if not mount.source]
    found += [f"--log-opt={name}={value}" for name, value in sorted(spec.logging.options.items())]
    if spec.HasField("gpus"):
        found.append(f"--gpus={_gpus(spec.gpus)}")
    return found


def _gpus(gpus: pb.Gpus) -> str:
    if gpus.ids:
        return f'"device={",".join(gpus.ids)}"'
    return str(gpus.count) if gpus.HasField("count") else "all"


def _network(spec: pb.Container) -> list[str]:
    if not spec.networks:
        return [f"--network={spec.network_mode}"] if spec.network_mode else []
    found = [f"--network={one.network}" for one in spec.networks]
    if len(spec.networks) == 1:
        [one] = spec.networks
        found += [f"--network-alias={alias}" for alias in one.aliases]
        found += [f"--ip={one.ipv4_address}"] if one.ipv4_address else []
        found += [f"--ip6={one.ipv6_address}"] if one.ipv6_address else []
    return found


def _limits(spec: pb.Container) -> list[str]:
    limits = spec.limits
    found = [f"{flag}={getattr(limits, name)}" for name, flag in _LIMITS.items() if limits.HasField(name)]  # type: ignore[arg-type]
    if limits.HasField("cpu_millis"):
        found.append(f"--cpus={limits.cpu_millis / 1000:g}")
    return found


def _health(check: pb.HealthCheck) -> list[str]:
    import shlex

    if check.disabled:
        return ["--no-healthcheck"]
    found = []
    if check.command:
        words = check.command
        # `run` gives it to the shell inside, in either form.
        found.append(f"--health-cmd={words[0] if len(words) == 1 else shlex.join(words)}")
    for name, flag in (
        ("interval", "--health-interval"),
        ("timeout", "--health-timeout"),
        ("start_period", "--health-start-period"),
    ):
        if check.HasField(name):  # type: ignore[arg-type]
            found.append(f"{flag}={getattr(check, name)}ms")
    if check.HasField("retries"):
        found.append(f"--health-retries={check.retries}")
    return found
