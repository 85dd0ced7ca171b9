"""Kind Channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common import spec as specs
from common.errors import ControlError, Violation
from common.manager import Action, Applied, Change, Detected, Report
from nixcc.updater.v1 import channel_pb2
from services.updater.drivers.base import Channels
from services.updater.references import has_secret

Channel = channel_pb2.Channel


class ChannelKind:
    """The root user's Nix channels."""

    spec = Channel

    def __init__(self, channels: Channels, *, unsupported: str = "") -> None:
        self._channels = channels
        self._unsupported = unsupported

    def unsupported(self) -> str:
        return self._unsupported

    def validate(self, name: str, spec: Channel) -> Sequence[Violation]:
        if not spec.name:
            spec.name = name
            if wrong := [v for v in specs.violations(spec) if v.field == "name"]:
                return [Violation("name", f"must be set, since {name!r} is no channel's name"), *wrong[1:]]
        spec.url = spec.url.rstrip("/")
        spec.ClearField("revision")
        if has_secret(spec.url):
            return [Violation("url", "holds a password or token: keep it out (netrc-file in nix.conf)")]
        return []

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detected[Channel] | ControlError | None]:
        states = self._channels.all()
        found: dict[str, Detected[Channel] | ControlError | None] = {}
        for name in keys:
            state = states.get(name)
            if state is None:
                found[name] = None
                continue
            spec = Channel(name=name, url=state.url)
            if state.path:
                spec.revision = state.path
            missing = "" if state.path else f"it was never fetched: nix-channel --update {name}"
            found[name] = Detected(spec, unhealthy=missing)
        return found

    def apply(self, change: Change[Channel], report: Report) -> Applied:
        if change.action is Action.DELETE or change.desired is None:
            removed = self._channels.remove(change.key)
            return Applied(
                f"removed channel {change.key}" if removed else f"{change.key} was gone already",
                changed=removed,
            )
        state = self._channels.all().get(change.key)
        if state is not None and state.url == change.desired.url and state.path:
            return Applied(f"channel {change.key} was so already", changed=False)
        report(f"fetching channel {change.key}", None)
        self._channels.set(change.key, change.desired.url)
        return Applied(f"channel {change.key} comes from {change.desired.url}")

    def enumerate(self) -> Sequence[str]:
        return [] if self._unsupported else sorted(self._channels.all())
