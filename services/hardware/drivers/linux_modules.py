"""Kernel modules: /proc/modules and /sys/module to see them, modprobe(8) to change them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence

from common.errors import CommandFailed, ControlError, Forbidden, InvalidRequest, WrongState
from common.manager import Emit
from common.process import run
from services.hardware.drivers.base import Stop
from services.hardware.drivers.record import Record
from services.hardware.drivers.tree import Tree
from services.hardware.drivers.uevents import Uevents
from services.hardware.models.events import DeviceAction, DeviceEvent, Gap
from services.hardware.models.states import ModuleState

MODULES = "/proc/modules"
# Where modprobe finds the parameters at the module's next load, at boot too.
CONFIGURATION = "/etc/modprobe.d"
_HEAD = "# Kept by NixOS Control Center: changes are put back.\n"


class LinuxModuleDriver:
    """`record` keeps the built-in modules that were given back; those can't be unloaded."""

    def __init__(
        self, tree: Tree, record: Record, events: Uevents, modprobe: Sequence[str] = ("modprobe",)
    ) -> None:
        self._tree = tree
        self._record = record
        self._events = events
        self._modprobe = modprobe
        self._stop: Stop | None = None

    def unsupported(self) -> str:
        """As the Protocol says."""
        if not self._tree.exists(MODULES):
            return "the kernel was built without loadable modules"
        if os.geteuid() != 0:
            return "loading modules needs root: run the daemon as root"
        if shutil.which(self._modprobe[0]) is None:
            return "modprobe not found: install kmod"
        if self._tree.live and not os.path.isdir(f"/lib/modules/{os.uname().release}"):
            nixos = f"/run/booted-system/kernel-modules/lib/modules/{os.uname().release}"
            if not os.path.isdir(nixos):
                return f"the modules of the running kernel {os.uname().release} are not installed"
        return ""

    def read(self, names: Sequence[str]) -> Mapping[str, ModuleState | ControlError | None]:
        """As the Protocol says."""
        loaded = {line.split()[0] for line in self._lines()}
        built_in = self._built_in()
        found: dict[str, ModuleState | ControlError | None] = {}
        for name in names:
            if name in loaded:
                found[name] = self._state(name, False)
            elif name in built_in and not self._record.get(name).get("released"):
                found[name] = self._state(name, True)
            else:
                found[name] = None
        return found

    def present(self) -> Sequence[str]:
        """As the Protocol says."""
        return [
            words[0]
            for words in (line.split() for line in self._lines())
            if len(words) > 2 and words[2] == "0"
        ]

    def load(self, name: str, parameters: Mapping[str, str] | None) -> tuple[str, Sequence[str]]:
        """As the Protocol says."""
        done = []
        if parameters is not None and parameters != self._kept(name):
            self._keep(name, parameters)
            done.append("parameters kept")
        self._record.put(name, {})
        if self.read([name])[name] is None:
            self._run(["--", name, *(f"{key}={value}" for key, value in (parameters or {}).items())], name)
            return ", ".join(["loaded", *done]), ()
        pending = []
        for key, value in (parameters or {}).items():
            path = f"/sys/module/{name}/parameters/{key}"
            live = self._tree.text(path)
            if live is None or _same(live, value):
                continue
            try:
                self._tree.write(path, value)
                done.append(f"{key} set")
            except OSError:
                # Fixed while it is loaded.
                pending.append(key)
        return ", ".join(done), tuple(pending)

    def unload(self, name: str) -> bool:
        """As the Protocol says."""
        state = self.read([name])[name]
        self._keep(name, {})
        if not isinstance(state, ModuleState):
            return False
        if state.built_in:
            self._record.put(name, {"released": True})
        else:
            self._run(["--remove", "--", name], name)
        return True

    def watch(self, emit: Emit) -> None:
        """As the Protocol says."""

        def tell(event: DeviceEvent | Gap) -> None:
            if isinstance(event, Gap):
                emit(())
            elif event.subsystem == "module" and event.action in (DeviceAction.ADD, DeviceAction.REMOVE):
                emit((event.name,))

        self._stop = self._events.subscribe(tell)

    def close(self) -> None:
        """As the Protocol says."""
        if self._stop is not None:
            self._stop()

    def _lines(self) -> list[str]:
        return (self._tree.text(MODULES) or "").splitlines()

    def _built_in(self) -> set[str]:
        """The kernel's own list; modules with parameters are in sysfs even where the list is missing."""
        release = self._tree.text("/proc/sys/kernel/osrelease") or ""
        found = set(self._tree.names("/sys/module"))
        for top in ("/lib/modules", "/run/booted-system/kernel-modules/lib/modules"):
            for line in (self._tree.text(f"{top}/{release}/modules.builtin") or "").splitlines():
                found.add(os.path.basename(line).split(".ko")[0].replace("-", "_"))
        return found - {line.split()[0] for line in self._lines()}

    def _state(self, name: str, built_in: bool) -> ModuleState:
        kept = self._kept(name)
        if kept is None:
            return ModuleState(name, built_in=built_in)
        values, pending = {}, []
        for key, value in kept.items():
            path = f"/sys/module/{name}/parameters/{key}"
            live = self._tree.text(path)
            if live is None or _same(live, value):
                values[key] = value
            elif self._tree.writable(path):
                values[key] = live
            else:
                values[key] = value
                pending.append(key)
        return ModuleState(name, values, tuple(pending), built_in)

    def _kept(self, name: str) -> dict[str, str] | None:
        for line in (self._tree.text(_configuration(name)) or "").splitlines():
            words = line.split()
            if words[:2] == ["options", name]:
                return dict(word.split("=", 1) for word in words[2:] if "=" in word)
        return None

    def _keep(self, name: str, parameters: Mapping[str, str]) -> None:
        """Writes what modprobe shall use from now on; none: nothing of ours."""
        path = _configuration(name)
        if not parameters:
            self._tree.remove(path)
            return
        options = " ".join(f"{key}={value}" for key, value in sorted(parameters.items()))
        try:
            self._tree.replace(path, f"{_HEAD}options {name} {options}\n")
        except OSError as error:
            raise Forbidden(f"{path} can't be written: {error.strerror}") from error

    def _run(self, arguments: Sequence[str], name: str) -> None:
        try:
            run([*self._modprobe, *arguments])
        except CommandFailed as error:
            said = error.stderr.strip()
            if "not found" in said:
                step = f"see what there is: find /lib/modules/$(uname -r) -name '{name}*'"
                raise InvalidRequest(f"the running kernel has no module {name}", next_step=step) from error
            if "in use" in said or "busy" in said:
                raise WrongState(
                    f"{name} can't be unloaded: {said}", next_step="see who uses it: lsmod"
                ) from error
            if "not permitted" in said:
                raise Forbidden(
                    said, next_step="secure boot or lockdown may refuse unsigned modules"
                ) from error
            if "nvalid argument" in said or "nknown" in said:
                raise InvalidRequest(said, next_step=f"see its parameters: modinfo -p {name}") from error
            raise


def _configuration(name: str) -> str:
    return f"{CONFIGURATION}/nixcc-{name}.conf"


def _same(live: str, value: str) -> bool:
    """The kernel writes booleans as Y and N, however they were given."""
    truths = {"Y": {"y", "1", "yes", "true", "on"}, "N": {"n", "0", "no", "false", "off"}}
    return live == value or value.lower() in truths.get(live, ())
