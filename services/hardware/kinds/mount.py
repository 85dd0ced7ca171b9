"""Kind Mount: protobuf <-> states, what the field rules can't say, and NixOS options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.errors import ControlError, Violation
from common.manager import Action, Applied, Change, Detected, Emit, JsonValue, Report
from nixcc.hardware.v1 import kinds_pb2
from services.hardware.drivers.base import MountDriver
from services.hardware.kinds.paths import is_tagged, nixos_device, wrong_path
from services.hardware.models.states import MountState, MountWish

Mount = kinds_pb2.Mount

# What every mount is unless it says otherwise.
_SAY_NOTHING = {"defaults", "rw"}
# Pairs that can't both hold.
_OPPOSITES = (("ro", "rw"), ("atime", "noatime"), ("exec", "noexec"), ("suid", "nosuid"), ("dev", "nodev"))
# They belong to one call of mount(8), not to a mount.
_NO_OPTIONS = {"remount", "move"}


class MountKind:
    """Mounts of the host; `confined`: why there can be none, empty: there can."""

    spec = Mount

    def __init__(self, driver: MountDriver, confined: str = "") -> None:
        self._driver = driver
        self._confined = confined

    def unsupported(self) -> str:
        return self._confined or self._driver.unsupported()

    def validate(self, name: str, spec: Mount) -> Sequence[Violation]:
        found = [Violation("mount_point", text) for text in wrong_path(spec.mount_point)]
        if "=" in spec.source and spec.source.split("=")[0].isupper() and not is_tagged(spec.source):
            found.append(Violation("source", "tags are UUID=…, LABEL=…, PARTUUID=… and PARTLABEL=…"))
        if spec.source.startswith("-"):
            found.append(Violation("source", "must not begin with a dash"))
        if spec.HasField("options"):
            options = [option for option in dict.fromkeys(spec.options.values) if option != "loop"]
            for one, other in _OPPOSITES:
                if one in options and other in options:
                    found.append(Violation("options.values", f"has both {one} and {other}"))
            for option in sorted(_NO_OPTIONS.intersection(options)):
                found.append(Violation("options.values", f"{option} is no option of a mount"))
            if {"bind", "rbind"} & set(options) and not spec.source.startswith("/"):
                found.append(Violation("source", "must be an absolute path to be bound"))
            # Image files get a loop device with or without the option.
            spec.options.values[:] = sorted(set(options) - _SAY_NOTHING)
        return found

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detected[Mount] | ControlError | None]:
        return {
            point: Detected(_spec(state)) if isinstance(state, MountState) else state
            for point, state in self._driver.read(keys).items()
        }

    def apply(self, change: Change[Mount], report: Report) -> Applied:
        point, desired = change.key, change.desired
        if change.action is Action.DELETE or desired is None:
            gone = self._driver.unmount(point)
            return Applied(f"unmounted {point}" if gone else f"{point} was not mounted", changed=gone)
        report(f"mounting {desired.source} on {point}", None)
        options = tuple(desired.options.values) if desired.HasField("options") else None
        wish = MountWish(point, desired.source, desired.fs_type or None, options)
        done = self._driver.mount(wish)
        return Applied(done or f"{point} was so already", changed=bool(done))

    def enumerate(self) -> Sequence[str]:
        return [] if self.unsupported() else self._driver.present()

    def render(self, name: str, spec: Mount) -> Mapping[str, JsonValue]:
        options = list(spec.options.values)
        bound = bool({"bind", "rbind"} & set(options))
        value: dict[str, JsonValue] = {
            "device": nixos_device(spec.source),
            "fsType": "none" if bound else spec.fs_type or "auto",
        }
        if _is_image(spec):
            options.append("loop")
        if options:
            value["options"] = options
        if spec.needed_for_boot:
            value["neededForBoot"] = True
        return {"fileSystems": {spec.mount_point: value}}

    def watch(self, emit: Emit) -> None:
        if not self.unsupported():
            self._driver.watch(emit)

    def hold(self, keys: Sequence[str]) -> None:
        """The kernel tells of all mounts together."""

    def drop(self, keys: Sequence[str]) -> None:
        """As `hold`."""

    def close(self) -> None:
        self._driver.close()


def _spec(state: MountState) -> Mount:
    options = kinds_pb2.MountOptions(values=state.options)
    return Mount(mount_point=state.mount_point, source=state.source, fs_type=state.fs_type, options=options)


def _is_image(spec: Mount) -> bool:
    """A path outside /dev that is not bound: an image file."""
    bound = {"bind", "rbind"} & set(spec.options.values)
    remote = spec.fs_type in ("nfs", "nfs4", "cifs", "9p", "virtiofs") or spec.fs_type.startswith("fuse")
    virtual = spec.fs_type in ("tmpfs", "ramfs", "overlay")
    return (
        spec.source.startswith("/")
        and not spec.source.startswith(("/dev/", "//"))
        and not (bound or remote or virtual)
    )
