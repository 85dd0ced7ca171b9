"""The control center's own state, from the system service over its socket."""

from __future__ import annotations

from pathlib import Path

from common.errors import ControlError, HostUnavailable, Unsupported, from_rpc_error

# Seconds.
_PATIENCE = 3_600.0


class OwnState:
    """`socket` is the system service's, which knows paths as they are seen from `root`."""

    def __init__(self, socket: Path, root: Path) -> None:
        self._socket = socket
        self._root = root

    def archive(self, folder: Path, passphrase_file: str) -> None:
        """Puts an encrypted archive of it into a folder. HostUnavailable where the service doesn't answer."""
        import grpc

        from nixcc.system.v1 import backup_pb2, backup_pb2_grpc

        request = backup_pb2.CreateBackupRequest(
            folder=self._inside(folder), passphrase_file=self._inside(Path(passphrase_file))
        )
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(f"unix:{self._socket}", options=options) as channel:
            stub = backup_pb2_grpc.BackupServiceStub(channel)
            try:
                for _ in stub.CreateBackup(request, timeout=_PATIENCE):
                    pass
            except grpc.RpcError as raised:
                error = from_rpc_error(raised)
                raise _named(error) from raised

    def _inside(self, path: Path) -> str:
        if not path.is_relative_to(self._root):
            raise Unsupported(
                f"{path} is not in {self._root}: from there the control center's own state can't be backed up",
                next_step="leave own_state out, or keep the file and the state folder within the root",
            )
        return f"/{path.relative_to(self._root)}"


def _named(error: ControlError) -> ControlError:
    if isinstance(error, HostUnavailable):
        return HostUnavailable(
            f"the control center's own state can't be read: {error.message}",
            next_step="see whether the system service runs (ncc doctor)",
        )
    return error
