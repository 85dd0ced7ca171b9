"""Which inputs stay where they are: our own record, since a lock file can't say it."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

from common.errors import WrongState
from common.whole_file import write_whole
from services.updater.models import Hold


class Holds:
    """Pins and holds by key (`/etc/nixos#nixpkgs`), in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def all(self) -> Mapping[str, Hold]:
        """Every key that is pinned or held. WrongState where the file is damaged."""
        try:
            value = json.loads(self._path.read_text("utf-8"))
            return {key: Hold(str(row["pin"]), bool(row["hold"])) for key, row in value.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise WrongState(
                f"{self._path} can't be read: {error}",
                next_step="remove it, then run `ncc reconcile`: it is written again from what is declared",
            ) from error

    def of(self, flake: str) -> Mapping[str, Hold]:
        """By the input's path, for one flake."""
        prefix = f"{flake}#"
        return {key[len(prefix) :]: hold for key, hold in self.all().items() if key.startswith(prefix)}

    def set(self, key: str, hold: Hold) -> bool:
        """Keeps it; False where it was so."""
        with self._lock:
            found = dict(self.all())
            if found.get(key, Hold()) == hold:
                return False
            if hold == Hold():
                del found[key]
            else:
                found[key] = hold
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            rows = {key: {"pin": row.pin, "hold": row.hold} for key, row in sorted(found.items())}
            write_whole(self._path, json.dumps(rows, indent=2).encode())
            return True
