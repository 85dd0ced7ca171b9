"""Kind Substituter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from common.errors import Violation, WrongState
from common.manager import Applied, Change, Detected, Detection, JsonValue, Report
from nixcc.packages.v1 import substituter_pb2 as pb
from services.packages.drivers.active_generation import ActiveGeneration
from services.packages.drivers.caches import key_belongs
from services.packages.rendering import nix_settings, settings_of


class SubstituterKind:
    """Binary caches of the host's nix.conf, which only a generation changes."""

    spec = pb.Substituter

    def __init__(self, generation: ActiveGeneration) -> None:
        self._generation = generation

    def unsupported(self) -> str:
        """See Kind."""
        return (
            "" if self._generation.nixos else "this host has no NixOS generations; set caches in its nix.conf"
        )

    def validate(self, name: str, spec: pb.Substituter) -> Sequence[Violation]:
        """See Kind."""
        spec.url = spec.url.rstrip("/")
        parts = urlsplit(spec.url)
        wrong = []
        if parts.scheme != "file" and not parts.netloc:
            wrong.append(Violation("url", "names no host"))
        if "@" in parts.netloc and parts.scheme in ("http", "https"):
            text = "must hold no password, since all can read it; use nix.settings.netrc-file"
            wrong.append(Violation("url", text))
        names = [key.partition(":")[0] for key in spec.public_keys]
        wrong += [
            Violation(f"public_keys[{at}]", f"is a second key of the name {name}; Nix takes only one")
            for at, name in enumerate(names)
            if name in names[:at]
        ]
        return wrong

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[pb.Substituter]]:
        """See Kind."""
        settings = self._generation.nix_settings()
        ours: dict[str, Sequence[str]] = {}
        for options in self._generation.options("Substituter").values():
            urls, trusted = settings_of(options)
            ours.update({url.partition("?")[0].rstrip("/"): trusted for url in urls})
        there = {url.partition("?")[0].rstrip("/"): url for url in settings.substituters}
        found: dict[str, Detection[pb.Substituter]] = {}
        for key in keys:
            if key not in there:
                found[key] = None
                continue
            host = urlsplit(key).hostname or ""
            mine = ours.get(key, [one for one in settings.public_keys if key_belongs(one, host)])
            spec = pb.Substituter(url=key, public_keys=[one for one in mine if one in settings.public_keys])
            priority = there[key].partition("priority=")[2].partition("&")[0]
            if priority.isdecimal():
                spec.priority = int(priority)
            found[key] = Detected(spec)
        return found

    def apply(self, change: Change[pb.Substituter], report: Report) -> Applied:
        """See Kind."""
        raise WrongState("only a NixOS generation changes what Nix is set to")

    def enumerate(self) -> Sequence[str]:
        """See Enumerable."""
        urls = self._generation.nix_settings().substituters
        return sorted({url.partition("?")[0].rstrip("/") for url in urls if "://" in url})

    def render(self, name: str, spec: pb.Substituter) -> Mapping[str, JsonValue]:
        """See Renderable."""
        return nix_settings(spec)
