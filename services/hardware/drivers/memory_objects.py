"""Mounts, swap, modules and governors of a machine in memory; same rules as the real ones, nothing on the host."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Collection, Mapping, Sequence

from common.errors import ControlError, InvalidRequest, WrongState
from common.manager import Emit
from services.hardware.drivers.swap_files import Report
from services.hardware.models.states import (
    GovernorState,
    ModuleState,
    MountState,
    MountWish,
    SwapState,
    SwapType,
    SwapWish,
)


class _Hints:
    """Who wants to hear of changes."""

    def __init__(self) -> None:
        self._emit: Emit | None = None

    def unsupported(self) -> str:
        """As the Protocols say."""
        return ""

    def watch(self, emit: Emit) -> None:
        """As the Protocols say."""
        self._emit = emit

    def close(self) -> None:
        """As the Protocols say."""
        self._emit = None

    def _changed(self, key: str) -> None:
        if self._emit is not None:
            self._emit((key,))


class MemoryMountDriver(_Hints):
    """`busy` mount points refuse to be unmounted."""

    def __init__(self, busy: Collection[str] = ()) -> None:
        super().__init__()
        self.mounts: dict[str, MountState] = {}
        self._busy = busy

    def read(self, mount_points: Sequence[str]) -> Mapping[str, MountState | ControlError | None]:
        """As the Protocol says."""
        return {point: self.mounts.get(point) for point in mount_points}

    def present(self) -> Sequence[str]:
        """As the Protocol says."""
        return list(self.mounts)

    def mount(self, wish: MountWish) -> str:
        """As the Protocol says."""
        before = self.mounts.get(wish.mount_point)
        options = before.options if before and wish.options is None else tuple(sorted(wish.options or ()))
        known = before.fs_type if before and before.source == wish.source else "ext4"
        after = MountState(wish.mount_point, wish.source, wish.fs_type or known, options)
        if after == before:
            return ""
        if before is not None and (before.source, before.fs_type) != (after.source, after.fs_type):
            self._check_free(wish.mount_point)
        self.mounts[wish.mount_point] = after
        self._changed(wish.mount_point)
        return f"mounted {wish.source}" if before is None else "remounted"

    def unmount(self, mount_point: str) -> bool:
        """As the Protocol says."""
        if mount_point not in self.mounts:
            return False
        self._check_free(mount_point)
        del self.mounts[mount_point]
        self._changed(mount_point)
        return True

    def _check_free(self, mount_point: str) -> None:
        if mount_point in self._busy:
            raise WrongState(f"{mount_point} is busy")


class MemorySwapDriver(_Hints):
    """`partitions` hold a swap signature, by path with their bytes; other devices don't."""

    def __init__(self, partitions: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.swaps: dict[str, SwapState] = {}
        self._partitions = dict(partitions or {})

    def read(self, paths: Sequence[str]) -> Mapping[str, SwapState | ControlError | None]:
        """As the Protocol says."""
        return {path: self.swaps.get(path) for path in paths}

    def present(self) -> Sequence[str]:
        """As the Protocol says."""
        return [path for path, state in self.swaps.items() if state.active]

    def set_up(self, wish: SwapWish, report: Report) -> str:
        """As the Protocol says."""
        before = self.swaps.get(wish.path)
        if wish.type is SwapType.PARTITION and wish.path not in self._partitions:
            raise WrongState(f"{wish.path} holds no swap signature")
        size = wish.size or (before.size if before else self._partitions.get(wish.path, 0))
        priority = wish.priority if wish.priority is not None else before.priority if before else None
        algorithm = wish.algorithm or (before.algorithm if before else None)
        if wish.type is SwapType.ZRAM:
            algorithm = algorithm or "lzo-rle"
        after = SwapState(
            wish.path, wish.type, size, wish.active, priority if wish.active else None, algorithm
        )
        if after == before:
            return ""
        self.swaps[wish.path] = after
        self._changed(wish.path)
        return "made" if before is None else "changed"

    def remove(self, path: str) -> bool:
        """As the Protocol says."""
        found = self.swaps.pop(path, None)
        if found is not None:
            self._changed(path)
        return found is not None


class MemoryModuleDriver(_Hints):
    """`installed`: modules that can be loaded; `built_in`: modules that always are."""

    def __init__(self, installed: Collection[str] = (), built_in: Collection[str] = ()) -> None:
        super().__init__()
        self.loaded: dict[str, ModuleState] = {name: ModuleState(name, built_in=True) for name in built_in}
        self._installed = frozenset(installed)
        self._released: set[str] = set()

    def read(self, names: Sequence[str]) -> Mapping[str, ModuleState | ControlError | None]:
        """As the Protocol says."""
        return {name: None if name in self._released else self.loaded.get(name) for name in names}

    def present(self) -> Sequence[str]:
        """As the Protocol says."""
        return [name for name, state in self.loaded.items() if not state.built_in]

    def load(self, name: str, parameters: Mapping[str, str] | None) -> tuple[str, Sequence[str]]:
        """As the Protocol says."""
        before = self.loaded.get(name)
        if before is None and name not in self._installed:
            raise InvalidRequest(f"the running kernel has no module {name}")
        self._released.discard(name)
        kept = (
            dict(parameters)
            if parameters
            else None
            if parameters is not None or before is None
            else before.parameters
        )
        after = dataclasses.replace(before or ModuleState(name), parameters=kept)
        if after == before:
            return "", ()
        self.loaded[name] = after
        self._changed(name)
        return ("loaded" if before is None else "parameters set"), ()

    def unload(self, name: str) -> bool:
        """As the Protocol says."""
        state = self.read([name])[name]
        if not isinstance(state, ModuleState):
            return False
        if state.built_in:
            self._released.add(name)
        else:
            del self.loaded[name]
        self._changed(name)
        return True


class MemoryGovernorDriver:
    """`policies`: what the machine starts with, by name."""

    def __init__(self, policies: Mapping[str, GovernorState]) -> None:
        self.policies = dict(policies)
        self._before: dict[str, dict[str, GovernorState]] = {}
        self._released: set[str] = set()
        self._lock = threading.Lock()

    def unsupported(self) -> str:
        """As the Protocol says."""
        return "" if self.policies else "the recorded machine scales no processor's frequency"

    def read(self, policies: Sequence[str]) -> Mapping[str, GovernorState | ControlError | None]:
        """As the Protocol says."""
        return {policy: self._state(policy) for policy in policies}

    def set(self, policy: str, governor: str, minimum_khz: int | None, maximum_khz: int | None) -> str:
        """As the Protocol says."""
        found = self._chosen(policy)
        if not found:
            raise InvalidRequest(f"there is no {policy}")
        for one in found:
            if governor not in self.policies[one].available:
                raise InvalidRequest(f"{one} has no governor {governor}")
        with self._lock:
            self._before.setdefault(policy, {one: self.policies[one] for one in found})
            self._released.discard(policy)
            changed = False
            for one in found:
                state = self.policies[one]
                after = dataclasses.replace(
                    state,
                    governor=governor,
                    minimum_khz=state.minimum_khz if minimum_khz is None else minimum_khz,
                    maximum_khz=state.maximum_khz if maximum_khz is None else maximum_khz,
                )
                changed |= after != state
                self.policies[one] = after
        return f"{governor} set" if changed else ""

    def release(self, policy: str) -> bool:
        """As the Protocol says."""
        with self._lock:
            before = self._before.pop(policy, {})
            self.policies |= before
            self._released.add(policy)
            return bool(before)

    def _chosen(self, policy: str) -> list[str]:
        return list(self.policies) if policy == "all" else [policy] if policy in self.policies else []

    def _state(self, policy: str) -> GovernorState | None:
        found = [self.policies[one] for one in self._chosen(policy)]
        if not found or policy in self._released:
            return None
        return GovernorState(
            policy,
            ",".join(sorted({state.governor for state in found})),
            min(state.minimum_khz or 0 for state in found) or None,
            max(state.maximum_khz or 0 for state in found) or None,
        )
