"""From what the engine's inspect tells to a spec, without what the image itself sets. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import labels as engine_labels
from services.homelab.containers import spec_label
from services.homelab.containers.creation import RESTARTS
from services.homelab.containers.edits import edited
from services.homelab.containers.image_names import short
from services.homelab.drivers.base import Json

_NS = 1_000_000
_CONDITIONS = {word: condition for condition, word in RESTARTS.items()}
# The engine names volumes without a name so.
_NAMELESS = re.compile(r"[0-9a-f]{64}")
_PROPAGATION = re.compile(r"r?(?:private|shared|slave)")
# What the engine adds by itself where a namespace is the host's.
_IMPLIED_SECURITY = "label=disable"
_DEFAULT_MODES = ("", "default", "bridge")

# The name of a container by its id; empty: there is none of that id.
NameOf = Callable[[str], str]


def spec(inspected: Json, image: Json | None = None, name_of: NameOf = lambda _: "") -> pb.Container:
    """The spec that would make such a container. `image`: its image as inspected, for what comes from there.

    Of a container that was made here, fields that can't change on a living one are as they were asked for.
    """
    config = inspected.get("Config") or {}
    host = inspected.get("HostConfig") or {}
    base = (image or {}).get("Config") or {}
    found = pb.Container(image=short(str(config.get("Image", ""))), running=is_running(inspected))
    _program(found, config, base)
    _identity(found, inspected, config, host, base)
    _storage(found, inspected, host, base)
    _powers(found, host)
    _network(found, inspected, config, host, name_of)
    _limits(found.limits, host)
    made_from = spec_label.read(config.get("Labels") or {})
    if made_from is None:
        return found
    _without_added_aliases(found, made_from, str(inspected.get("Name", "")).removeprefix("/"))
    others = edited(made_from, found, inspected)
    return spec_label.overlaid(found, _still_true(made_from, host, name_of), others)


def is_running(inspected: Json) -> bool:
    """Whether its processes are there, or come back by themselves; a held one does not run."""
    state = inspected.get("State") or {}
    return bool(state.get("Running") or state.get("Restarting")) and not state.get("Paused")


def nameless_volumes(inspected: Json) -> dict[str, str]:
    """Volumes without a name that the engine made for it: name by place inside."""
    found = {}
    for mount in inspected.get("Mounts") or ():
        name = str(mount.get("Name") or "")
        if mount.get("Type") == "volume" and _NAMELESS.fullmatch(name):
            found[str(mount["Destination"])] = name
    return found


def _program(found: pb.Container, config: Json, base: Json) -> None:
    entrypoint, command = list(config.get("Entrypoint") or ()), list(config.get("Cmd") or ())
    if entrypoint != list(base.get("Entrypoint") or ()):
        # A program of one's own does away with the image's arguments, too.
        found.entrypoint.extend(entrypoint)
        found.command.extend(command)
    elif command != list(base.get("Cmd") or ()):
        found.command.extend(command)
    own = set(base.get("Env") or ())
    for variable in config.get("Env") or ():
        name, _, value = variable.partition("=")
        if name and variable not in own:
            found.environment[name] = value
    labels = base.get("Labels") or {}
    for name, value in engine_labels.own(config.get("Labels") or {}).items():
        if labels.get(name) != value:
            found.labels[name] = value
    check = config.get("Healthcheck")
    if check and check != base.get("Healthcheck"):
        _health_check(found.health_check, check, base.get("Healthcheck") or {})


def _health_check(found: pb.HealthCheck, check: Json, base: Json) -> None:
    test = list(check.get("Test") or ())
    if test[:1] == ["NONE"]:
        found.disabled = True
        return
    if test != list(base.get("Test") or ()):
        found.command.extend(test[1:])
        if test[:1] == ["CMD"] and len(test) == 2:
            found.no_shell = True
    for name, word in (("interval", "Interval"), ("timeout", "Timeout"), ("start_period", "StartPeriod")):
        if value := check.get(word):
            setattr(found, name, int(value) // _NS)
    if value := check.get("Retries"):
        found.retries = int(value)
    found.SetInParent()


def _identity(found: pb.Container, inspected: Json, config: Json, host: Json, base: Json) -> None:
    for name, word in (("user", "User"), ("working_dir", "WorkingDir"), ("stop_signal", "StopSignal")):
        value = str(config.get(word) or "")
        if value and value != str(base.get(word) or ""):
            setattr(found, name, value)
    hostname = str(config.get("Hostname") or "")
    # Where the name is the engine's own choice, it is the id's beginning; with the host's network it is the host's.
    own = hostname and not str(inspected.get("Id", "")).startswith(hostname)
    if own and host.get("NetworkMode") != "host" and host.get("UTSMode") != "host":
        found.hostname = hostname
    found.tty = bool(config.get("Tty"))
    found.stdin_open = bool(config.get("OpenStdin"))
    if config.get("StopTimeout") is not None:
        found.stop_grace = int(config["StopTimeout"])
    policy = host.get("RestartPolicy") or {}
    found.restart.condition = _CONDITIONS.get(str(policy.get("Name") or "no"), pb.RESTART_CONDITION_NO)
    if policy.get("MaximumRetryCount"):
        found.restart.maximum_retries = int(policy["MaximumRetryCount"])
    log = host.get("LogConfig") or {}
    found.logging.driver = str(log.get("Type") or "")
    found.logging.options.update(_texts(log.get("Config")))


def _storage(found: pb.Container, inspected: Json, host: Json, base: Json) -> None:
    asked = _asked_mounts(host)
    of_image = base.get("Volumes") or {}
    for mount in inspected.get("Mounts") or ():
        sort, target = mount.get("Type"), str(mount.get("Destination", ""))
        if sort == "tmpfs":
            found.tmpfs[target] = _tmpfs_options(asked.get(target) or {})
            continue
        if sort not in ("volume", "bind"):
            continue
        name = str(mount.get("Name") or "")
        nameless = sort == "volume" and _NAMELESS.fullmatch(name) is not None
        if nameless and target in of_image and target not in asked:
            continue
        one = found.mounts.add(target=target, read_only=not mount.get("RW", True))
        one.type = pb.MOUNT_TYPE_VOLUME if sort == "volume" else pb.MOUNT_TYPE_BIND
        source = name if sort == "volume" else str(mount.get("Source", ""))
        if source and not nameless:
            one.source = source
        if propagation := (asked.get(target) or {}).get("Propagation"):
            one.propagation = propagation
    found.tmpfs.update(_texts(host.get("Tmpfs")))


def _asked_mounts(host: Json) -> dict[str, Json]:
    """What was asked for, by target: what inspect tells of the mounts themselves is the engine's choice in part."""
    found: dict[str, Json] = {}
    for bind in host.get("Binds") or ():
        parts = str(bind).split(":")
        if len(parts) < 2:
            continue
        options = parts[2].split(",") if len(parts) > 2 else []
        spread = [option for option in options if _PROPAGATION.fullmatch(option)]
        found[parts[1]] = {"Propagation": spread[0] if spread else ""}
    for mount in host.get("Mounts") or ():
        propagation = str((mount.get("BindOptions") or {}).get("Propagation") or "")
        found[str(mount.get("Target", ""))] = {**mount, "Propagation": propagation}
    return found


def _tmpfs_options(mount: Json) -> str:
    options = mount.get("TmpfsOptions") or {}
    words = [f"size={options['SizeBytes']}"] if options.get("SizeBytes") else []
    words += [f"mode={options['Mode']:o}"] if options.get("Mode") else []
    return ",".join(words)


def _powers(found: pb.Container, host: Json) -> None:
    for name, word in (
        ("read_only", "ReadonlyRootfs"),
        ("privileged", "Privileged"),
        ("init", "Init"),
    ):
        setattr(found, name, bool(host.get(word)))
    if host.get("ShmSize"):
        found.shm_size = int(host["ShmSize"])
    if host.get("Runtime"):
        found.runtime = str(host["Runtime"])
    found.groups.extend(_strings(host.get("GroupAdd")))
    found.cap_add.extend(_capability(name) for name in _strings(host.get("CapAdd")))
    found.cap_drop.extend(_capability(name) for name in _strings(host.get("CapDrop")))
    options = (_security(option) for option in _strings(host.get("SecurityOpt")))
    found.security_options.extend(option for option in options if option != _IMPLIED_SECURITY)
    found.devices.extend(_device(device) for device in host.get("Devices") or ())
    found.sysctls.update(_texts(host.get("Sysctls")))
    found.extra_hosts.extend(_strings(host.get("ExtraHosts")))
    found.dns.extend(_strings(host.get("Dns")))
    for limit in host.get("Ulimits") or ():
        found.ulimits[str(limit["Name"])] = ulimit(int(limit.get("Soft", 0)), int(limit.get("Hard", 0)))
    for request in host.get("DeviceRequests") or ():
        words = [word for words in request.get("Capabilities") or () for word in words]
        if "gpu" in words:
            _gpus(found.gpus, request, words)


def _gpus(found: pb.Gpus, request: Json, words: Iterable[str]) -> None:
    found.capabilities.extend(words)
    found.ids.extend(_strings(request.get("DeviceIDs")))
    if (count := int(request.get("Count") or 0)) > 0:
        found.count = count
    if request.get("Driver"):
        found.driver = str(request["Driver"])


def _network(found: pb.Container, inspected: Json, config: Json, host: Json, name_of: NameOf) -> None:
    if pid := _shared(str(host.get("PidMode") or ""), name_of):
        found.pid_mode = pid
    if ipc := _shared(str(host.get("IpcMode") or ""), name_of):
        found.ipc_mode = ipc
    for key, bindings in (host.get("PortBindings") or {}).items():
        inside, _, protocol = key.partition("/")
        for binding in bindings or ():
            port = found.ports.add(container=int(inside), protocol=protocol or "tcp")
            if (outside := str(binding.get("HostPort") or "")).isdecimal() and int(outside):
                port.host = int(outside)
            if binding.get("HostIp"):
                port.address = str(binding["HostIp"])
    mode = str(host.get("NetworkMode") or "")
    if mode in ("none", "host") or mode.startswith("container:"):
        found.network_mode = _shared(mode, name_of)
        return
    attached = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    if not attached and mode not in _DEFAULT_MODES and not (inspected.get("State") or {}).get("Running"):
        attached = {mode: {}}  # never started: an engine may attach it only then
    if len(attached) < 2 and not (attached.keys() - {"bridge"}):
        found.network_mode = "bridge" if attached else "none"
        return
    own = str(inspected.get("Name", "")).removeprefix("/")
    automatic = {str(inspected.get("Id", ""))[:12], str(config.get("Hostname") or ""), own}
    for network in sorted(attached, key=lambda name: (name != mode, name)):
        settings = attached[network] or {}
        one = found.networks.add(network=network)
        aliases = dict.fromkeys(_strings(settings.get("Aliases")))
        one.aliases.extend(alias for alias in aliases if alias not in automatic)
        fixed = settings.get("IPAMConfig") or {}
        if fixed.get("IPv4Address"):
            one.ipv4_address = str(fixed["IPv4Address"])
        if fixed.get("IPv6Address"):
            one.ipv6_address = str(fixed["IPv6Address"])


def _shared(mode: str, name_of: NameOf) -> str:
    """`container:NAME` for `container:ID`; the id stays where nobody has it any more."""
    word, _, who = mode.partition(":")
    return f"container:{name_of(who) or who}" if word == "container" else mode


def _still_true(made_from: pb.Container, host: Json, name_of: NameOf) -> pb.Container:
    """Namespaces shared with a container that was replaced since are no longer those that were asked for."""
    for name, word in (("pid_mode", "PidMode"), ("ipc_mode", "IpcMode")):
        if getattr(made_from, name).startswith("container:"):
            setattr(made_from, name, _shared(str(host.get(word) or ""), name_of))
    return made_from


def _without_added_aliases(found: pb.Container, made_from: pb.Container, own: str) -> None:
    """A name that was asked for and is also the engine's own choice was asked for."""
    asked = {attachment.network: list(attachment.aliases) for attachment in made_from.networks}
    for attachment in found.networks:
        for name in (made_from.hostname, own):
            if name and name in asked.get(attachment.network, ()) and name not in attachment.aliases:
                attachment.aliases.append(name)


def _limits(found: pb.ContainerLimits, host: Json) -> None:
    found.SetInParent()
    if nano := int(host.get("NanoCpus") or 0):
        found.cpu_millis = nano // 1_000_000
    elif (quota := int(host.get("CpuQuota") or 0)) > 0:
        found.cpu_millis = quota * 1000 // int(host.get("CpuPeriod") or 100_000)
    for name, word in (
        ("cpu_shares", "CpuShares"),
        ("memory", "Memory"),
        ("memory_reservation", "MemoryReservation"),
        ("pids", "PidsLimit"),
    ):
        if (value := int(host.get(word) or 0)) > 0:
            setattr(found, name, value)
    if host.get("CpusetCpus"):
        found.cpuset = str(host["CpusetCpus"])


def ulimit(soft: int, hard: int) -> str:
    """`1024:65536`, or one number for both."""
    return str(soft) if soft == hard else f"{soft}:{hard}"


def device(host: str, inside: str, permissions: str) -> str:
    """The shortest that says so."""
    words = [host] if host == inside else [host, inside]
    return ":".join(words if permissions == "rwm" else [*words, permissions])


def _device(entry: Json) -> str:
    path = str(entry.get("PathOnHost", ""))
    return device(
        path, str(entry.get("PathInContainer") or path), str(entry.get("CgroupPermissions") or "rwm")
    )


def _capability(name: str) -> str:
    return name.removeprefix("CAP_")


def _security(option: str) -> str:
    return security_option(option)


def security_option(option: str) -> str:
    """The one form that is compared."""
    name, mark, value = option.partition("=") if "=" in option else option.partition(":")
    if name == "no-new-privileges" and value in ("", "true"):
        return name
    return f"{name}={value}" if mark else option


def _strings(values: Any) -> list[str]:
    return [str(value) for value in values or ()]


def _texts(values: Mapping[str, Any] | None) -> dict[str, str]:
    return {str(name): str(value) for name, value in (values or {}).items()}
