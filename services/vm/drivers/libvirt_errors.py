"""libvirt's error codes as ControlErrors. The codes are those of virterror.h; what is not listed may pass by itself."""

from __future__ import annotations

from collections.abc import Mapping

import libvirt

from common.errors import (
    AlreadyExists,
    ControlError,
    Forbidden,
    HostUnavailable,
    InvalidRequest,
    NotFound,
    Unsupported,
    WrongState,
)

# Seconds after which a hypervisor that went away is worth another try.
RETRY = 1.0

_CLASSES: Mapping[int, type[ControlError]] = {
    libvirt.VIR_ERR_NO_DOMAIN: NotFound,
    libvirt.VIR_ERR_NO_NETWORK: NotFound,
    libvirt.VIR_ERR_NO_STORAGE_POOL: NotFound,
    libvirt.VIR_ERR_NO_STORAGE_VOL: NotFound,
    libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT: NotFound,
    libvirt.VIR_ERR_NO_SUPPORT: Unsupported,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_OPERATION_INVALID: WrongState,
    libvirt.VIR_ERR_RESOURCE_BUSY: WrongState,
    libvirt.VIR_ERR_XML_ERROR: InvalidRequest,
    libvirt.VIR_ERR_XML_DETAIL: InvalidRequest,
    libvirt.VIR_ERR_XML_INVALID_SCHEMA: InvalidRequest,
    libvirt.VIR_ERR_INVALID_ARG: InvalidRequest,
    libvirt.VIR_ERR_OS_TYPE: Unsupported,
    libvirt.VIR_ERR_DOM_EXIST: AlreadyExists,
    libvirt.VIR_ERR_NETWORK_EXIST: AlreadyExists,
    libvirt.VIR_ERR_STORAGE_VOL_EXIST: AlreadyExists,
    libvirt.VIR_ERR_OPERATION_DENIED: Forbidden,
    libvirt.VIR_ERR_ACCESS_DENIED: Forbidden,
    libvirt.VIR_ERR_AUTH_FAILED: Forbidden,
    libvirt.VIR_ERR_AUTH_CANCELLED: Forbidden,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE: Forbidden,
}
_AWAY = {
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_OPERATION_TIMEOUT,
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
}
# An internal error of one of these means that libvirtd itself did not answer.
_REMOTE = {libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE}


def to_control_error(error: libvirt.libvirtError, what: str) -> ControlError:
    """The error's class by its code."""
    message = f"{what}: {error.get_error_message() or error}"
    if is_away(error):
        return HostUnavailable(
            message, next_step="check that libvirtd is running; it is tried again", retry_after=RETRY
        )
    # libvirt has no code of its own for it.
    found = Unsupported if _lacks_uefi(message) else _CLASSES.get(error.get_error_code(), ControlError)
    return found(message, next_step=_next_step(message))


def is_away(error: libvirt.libvirtError) -> bool:
    """Whether the hypervisor itself could not be reached."""
    code, domain = error.get_error_code(), error.get_error_domain()
    if code in _AWAY:
        return True
    return domain in _REMOTE and code in (libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR)


def _lacks_uefi(message: str) -> bool:
    return "'efi'" in message and "firmware" in message


def _next_step(message: str) -> str:
    if _lacks_uefi(message):
        return "install UEFI firmware for QEMU (Debian: ovmf), or choose BIOS"
    if "invalid network" in message or "network is not active" in message or "is not active" in message:
        return "start it, or set its `running: true`"
    if "KVM is not available" in message or "does not support virt type 'kvm'" in message:
        return "choose the accelerator TCG or AUTO"
    if "not supported by the connection driver" in message:
        return "ncc vm hypervisor says which one this is; NCC_VM_URI of ncc serve chooses another"
    return ""
