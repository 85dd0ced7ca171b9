"""Binary caches: what Nix is set to use, whether they answer, and what Nix remembers of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

from common.errors import ControlError
from services.packages.drivers.active_generation import ActiveGeneration
from services.packages.drivers.nix import nix_json, nix_version
from services.packages.models import CacheState, NixSettings

# Seconds that a cache has to answer.
_PATIENCE = 5.0
_LARGEST = 64 * 1024


class NixCaches:
    """See CacheDriver."""

    def __init__(self, generation: ActiveGeneration, unsupported: str = "") -> None:
        self._generation = generation
        self._unsupported = unsupported

    def settings(self) -> NixSettings:
        """See CacheDriver: as Nix itself understands all its files and its environment."""
        if not self._unsupported:
            try:
                # Its name since 2.20.
                old = nix_version() < (2, 20)
                shown = nix_json([*(["show-config"] if old else ["config", "show"]), "--json"])
                return NixSettings(
                    substituters=tuple(url.rstrip("/") for url in shown["substituters"]["value"]),
                    public_keys=tuple(shown["trusted-public-keys"]["value"]),
                )
            except (ControlError, KeyError, TypeError):
                pass  # what its main file says is better than nothing
        return self._generation.nix_settings()

    def states(self, urls: Iterable[str]) -> Sequence[CacheState]:
        """See CacheDriver."""
        wanted = list(urls)
        keys = self.settings().public_keys
        known = _remembered()
        with ThreadPoolExecutor(max(1, min(8, len(wanted))), thread_name_prefix="caches") as pool:
            return list(pool.map(lambda url: _state(url, keys, known), wanted))


def _state(url: str, keys: Sequence[str], known: Mapping[str, tuple[int, int]]) -> CacheState:
    plain = url.partition("?")[0].rstrip("/")
    present, absent = known.get(plain, (0, 0))
    start = time.perf_counter()
    try:
        info = _info(plain)
    except (OSError, ValueError) as error:
        return CacheState(url, error=_cause(error), known_present=present, known_absent=absent)
    latency = (time.perf_counter() - start) * 1e3
    host = urlsplit(plain).hostname or ""
    return CacheState(
        url,
        store_dir=info.get("StoreDir", ""),
        mass_query=info.get("WantMassQuery") == "1",
        priority=_number(url.partition("priority=")[2]) or _number(info.get("Priority", "")) or 50,
        latency_ms=latency,
        known_present=present,
        known_absent=absent,
        public_keys=tuple(key for key in keys if key_belongs(key, host)),
    )


def key_belongs(key: str, host: str) -> bool:
    """Whether a key's name says that it is of a host: `cache.example.org-1:…`."""
    name = key.partition(":")[0]
    return bool(host) and (name == host or name.startswith(f"{host}-"))


def _info(url: str) -> Mapping[str, str]:
    parts = urlsplit(url)
    if parts.scheme == "file":
        text = (Path(unquote(parts.path)) / "nix-cache-info").read_bytes()
    elif parts.scheme in ("http", "https"):
        import http.client

        # Not urllib: it would follow the environment's proxies and redirects to other schemes.
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=_PATIENCE)
        try:
            connection.request("GET", f"{parts.path}/nix-cache-info", headers={"User-Agent": "nixcc"})
            answer = connection.getresponse()
            text = answer.read(_LARGEST)
        except http.client.HTTPException as error:
            raise ValueError(f"it does not speak HTTP: {type(error).__name__}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(f"it answers {answer.status} {answer.reason}")
    else:
        raise ValueError(f"{parts.scheme} caches can't be asked from here; Nix itself uses them")
    rows = (line.partition(":") for line in text.decode(errors="replace").splitlines())
    info = {name.strip(): value.strip() for name, colon, value in rows if colon}
    if "StoreDir" not in info:
        raise ValueError("it is no binary cache: its nix-cache-info names no StoreDir")
    return info


def _remembered() -> Mapping[str, tuple[int, int]]:
    """Of each cache, how many paths Nix remembers to be there and not to be there."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ.get("HOME", "/root"), ".cache")
    found: dict[str, tuple[int, int]] = {}
    for path in sorted(Path(home, "nix").glob("binary-cache-v*.sqlite")):
        import apsw

        query = (
            "SELECT c.url, sum(n.present = 1), sum(n.present = 0) FROM BinaryCaches c JOIN NARs n ON n.cache = c.id"
            " GROUP BY c.url"
        )
        try:
            database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            try:
                for url, present, absent in database.execute(query):
                    found[url.rstrip("/")] = present or 0, absent or 0
            finally:
                database.close()
        except apsw.Error:
            continue  # another version of Nix keeps it otherwise; it is only a help
    return found


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or getattr(error, "strerror", None) or error)[:300]


def _number(text: str) -> int:
    digits = text.strip().partition("&")[0]
    return int(digits) if digits.isdecimal() else 0
