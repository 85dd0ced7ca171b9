"""cloud-init seeds on this host: ISO images labelled `cidata` (cloud-init's NoCloud data source)."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

from common.errors import ControlError, Forbidden, InvalidRequest, NotFound

# Largest user-data taken from a file.
_LARGEST = 1024 * 1024


class HostSeeds:
    """Seeds in one folder that the hypervisor's user can reach; the files themselves are the daemon's alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Seeds read already, by path: what tells a changed file, and the files in it.
        self._known: dict[str, tuple[tuple[int, ...], Mapping[str, bytes]]] = {}

    def path(self, machine: str) -> str:
        """See Seeds."""
        return str(self._folder / f"{machine}.iso")

    def read(self, path: str) -> Mapping[str, bytes] | None:
        """See Seeds."""
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ControlError(f"cloud-init seed {path} can't be read: {error.strerror}") from error
        signature = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        known = self._known.get(path)
        if known is None or known[0] != signature:
            known = self._known[path] = (signature, _read_iso(path))
        return known[1]

    def write(self, path: str, files: Mapping[str, bytes]) -> None:
        """See Seeds."""
        content = _build_iso(files)
        new = f"{path}.new"
        try:
            self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            Path(new).unlink(missing_ok=True)
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if os.path.exists(path):
                # A running machine's hypervisor opened it as another user: the next one must be able to, too.
                owner = os.stat(path)
                if os.geteuid() == 0:
                    os.chown(new, owner.st_uid, owner.st_gid)
            os.replace(new, path)
        except OSError as error:
            raise ControlError(f"cloud-init seed {path} can't be written: {error.strerror}") from error

    def remove(self, path: str) -> None:
        """See Seeds."""
        Path(path).unlink(missing_ok=True)
        self._known.pop(path, None)

    def user_data(self, path: str) -> bytes:
        """See Seeds."""
        try:
            with open(path, "rb") as file:
                content = file.read(_LARGEST + 1)
        except FileNotFoundError as error:
            raise NotFound(f"cloud_init.user_data_path: there is no file {path}") from error
        except PermissionError as error:
            raise Forbidden(f"cloud_init.user_data_path: {path} can't be read") from error
        except OSError as error:
            raise ControlError(
                f"cloud_init.user_data_path: {path} can't be read: {error.strerror}"
            ) from error
        if len(content) > _LARGEST:
            raise InvalidRequest(f"cloud_init.user_data_path: {path} is larger than 1 MiB")
        return content


def _build_iso(files: Mapping[str, bytes]) -> bytes:
    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    for number, (name, content) in enumerate(sorted(files.items())):
        iso.add_fp(
            io.BytesIO(content),
            len(content),
            f"/FILE{number}.;1",
            rr_name=name,
            joliet_path=f"/{name}",
            file_mode=0o100400,
        )
    out = io.BytesIO()
    iso.write_fp(out)
    iso.close()
    return out.getvalue()


def _read_iso(path: str) -> Mapping[str, bytes]:
    """What is on it; nothing where it is no ISO image (it is made anew then)."""
    import pycdlib
    from pycdlib.pycdlibexception import PyCdlibException

    iso = pycdlib.PyCdlib()
    files: dict[str, bytes] = {}
    try:
        iso.open(path)
    except PyCdlibException:
        return files
    except OSError as error:
        raise ControlError(f"cloud-init seed {path} can't be read: {error.strerror}") from error
    try:
        for child in iso.list_children(joliet_path="/"):
            if child.is_file():
                name = child.file_identifier().decode("utf-16_be")
                out = io.BytesIO()
                iso.get_file_from_iso_fp(out, joliet_path=f"/{name}")
                files[name] = out.getvalue()
    except PyCdlibException:
        return {}
    finally:
        iso.close()
    return files
