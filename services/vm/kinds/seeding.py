"""The cloud-init seed of a machine: what it should hold, whether it does, and making it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from common.errors import ControlError
from nixcc.vm.v1 import machine_pb2 as pb
from services.vm.drivers.base import Seeds
from services.vm.xml.notes import Notes, SeedNote

# Field of CloudInit -> file on the CD.
_FILES: Mapping[str, str] = {
    "user_data": "user-data",
    "meta_data": "meta-data",
    "network_config": "network-config",
}


def prepare(
    name: str, spec: pb.VirtualMachine, notes: Notes, seeds: Seeds | None
) -> Mapping[str, bytes] | None:
    """Notes what the seed will be, and returns its files; None: it stays as it is.

    What the spec leaves out keeps the content that it has.
    """
    if not spec.HasField("cloud_init"):
        return None
    wanted = spec.cloud_init
    old = notes.seed or SeedNote()
    path = old.path or (seeds.path(name) if seeds is not None else "")
    before = (seeds.read(path) if seeds is not None and path else None) or {}
    files = dict(before)
    user_data_path = ""
    if wanted.HasField("user_data"):
        files["user-data"] = wanted.user_data.encode()
    elif wanted.user_data_path:
        user_data_path = wanted.user_data_path
        # A driver without files of the host notes the name alone.
        files["user-data"] = seeds.user_data(user_data_path) if seeds is not None else user_data_path.encode()
    else:
        files.setdefault("user-data", b"#cloud-config\n")
        user_data_path = old.user_data_path
    if wanted.HasField("meta_data"):
        files["meta-data"] = wanted.meta_data.encode()
    else:
        files.setdefault("meta-data", f"instance-id: {name}\nlocal-hostname: {name}\n".encode())
    if wanted.HasField("network_config"):
        files["network-config"] = wanted.network_config.encode()
    # Digests are noted only where the seed itself can't be asked.
    digests = {} if seeds is not None else {**old.digests, **_hex_digests(files)}
    notes.seed = SeedNote(path, user_data_path, digests)
    return None if files == before else files


def detect(spec: pb.VirtualMachine, notes: Notes, seeds: Seeds | None) -> dict[str, bytes]:
    """Sets `cloud_init` in the detected spec; returns the digests of its write-only fields."""
    note = notes.seed
    if note is None:
        return {}
    spec.cloud_init.SetInParent()
    if seeds is None:
        digests = {field: bytes.fromhex(text) for field, text in note.digests.items()}
        spec.cloud_init.user_data_path = note.user_data_path
    else:
        files = seeds.read(note.path) or {}
        digests = {field: _sha256(files[file]) for field, file in _FILES.items() if file in files}
        if note.user_data_path and _is_current(note.user_data_path, files.get("user-data"), seeds):
            spec.cloud_init.user_data_path = note.user_data_path
    return {f"cloud_init.{field}": digest for field, digest in digests.items()}


def _is_current(path: str, content: bytes | None, seeds: Seeds) -> bool:
    """Whether the seed holds what the file holds now."""
    try:
        return seeds.user_data(path) == content
    except ControlError:
        # Apply says what is wrong with it.
        return False


def _hex_digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {field: _sha256(files[file]).hex() for field, file in _FILES.items() if file in files}


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
