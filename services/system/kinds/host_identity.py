"""Kind HostIdentity: there is one, named `host`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.errors import ControlError, Violation
from common.manager import Action, Applied, Change, Detected, Emit, JsonValue, Report
from nixcc.system.v1 import host_identity_pb2
from services.system.drivers.base import IdentityDriver
from services.system.models import Identity

HostIdentity = host_identity_pb2.HostIdentity

KEY = "host"


class HostIdentityKind:
    """The host's name, time zone and language."""

    spec = HostIdentity

    def __init__(self, driver: IdentityDriver) -> None:
        self._driver = driver
        # A host always has an identity: after a DELETE it counts as absent until it is declared again.
        self._released = False

    def unsupported(self) -> str:
        return ""

    def validate(self, name: str, spec: HostIdentity) -> Sequence[Violation]:
        found = []
        if name != KEY:
            found.append(Violation("metadata.name", f"there is one identity per host: it is named {KEY}"))
        if not spec.ListFields():
            found.append(Violation("hostname", "one of hostname, time_zone and locale must be set"))
        return found

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detected[HostIdentity] | ControlError | None]:
        identity = self._driver.read()
        spec = HostIdentity(hostname=identity.hostname, time_zone=identity.time_zone, locale=identity.locale)
        found = None if self._released else Detected(spec)
        return {key: found if key == KEY else None for key in keys}

    def apply(self, change: Change[HostIdentity], report: Report) -> Applied:
        if change.action is Action.DELETE or change.desired is None:
            self._released = True
            return Applied("the host keeps its identity, unmanaged", changed=False)
        self._released = False
        desired = change.desired
        done = self._driver.write(
            Identity(
                desired.hostname if desired.HasField("hostname") else None,
                desired.time_zone if desired.HasField("time_zone") else None,
                desired.locale if desired.HasField("locale") else None,
            )
        )
        return Applied(done or "it was so already", changed=bool(done))

    def enumerate(self) -> Sequence[str]:
        return () if self._released or not any(self._driver.read()) else (KEY,)

    def watch(self, emit: Emit) -> None:
        self._driver.watch(lambda: emit((KEY,)))

    def hold(self, keys: Sequence[str]) -> None:
        """One key: it is always watched."""

    def drop(self, keys: Sequence[str]) -> None:
        """One key: it is always watched."""

    def close(self) -> None:
        self._driver.close()

    def render(self, name: str, spec: HostIdentity) -> Mapping[str, JsonValue]:
        options: dict[str, JsonValue] = {}
        if spec.HasField("hostname"):
            options["networking"] = {"hostName": spec.hostname}
        if spec.HasField("time_zone"):
            options["time"] = {"timeZone": spec.time_zone}
        if spec.HasField("locale"):
            options["i18n"] = {"defaultLocale": spec.locale}
        return options
