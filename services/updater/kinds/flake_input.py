"""Kind FlakeInput: pin and hold are ours, url and follows are the owner's and only compared."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from common.errors import ControlError, NotFound, Unsupported, Violation, WrongState
from common.manager import Action, Applied, Change, Detected, Emit, Report
from nixcc.updater.v1 import flake_input_pb2
from services.updater.cycle import Cycle
from services.updater.drivers.base import Step, UpdaterDriver
from services.updater.holds import Holds
from services.updater.models import Hold, Input, Mode, Order
from services.updater.orders import plain_folder
from services.updater.references import has_secret, key_of, split_key

FlakeInput = flake_input_pb2.FlakeInput

# How often flake.nix and the lock file are looked at, in seconds.
SECONDS = 2.0


class FlakeInputKind:
    """Inputs of flakes. `flakes` gives the folders whose inputs are listed where nobody declared them."""

    spec = FlakeInput

    def __init__(
        self,
        driver: UpdaterDriver,
        holds: Holds,
        cycle: Cycle,
        flakes: Callable[[], Sequence[str]],
        *,
        unsupported: str = "",
        seconds: float = SECONDS,
    ) -> None:
        self._driver = driver
        self._holds = holds
        self._cycle = cycle
        self._flakes = flakes
        self._unsupported = unsupported
        self._seconds = seconds
        self._seen: dict[str, tuple[object, Mapping[str, Input]]] = {}
        # Deleted here: not ours any more, though flake.nix still has them.
        self._released: set[str] = set()
        self._held: set[str] = set()
        self._stamps: dict[str, object] = {}
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def unsupported(self) -> str:
        return self._unsupported

    def validate(self, name: str, spec: FlakeInput) -> Sequence[Violation]:
        flake, path = split_key(spec.input)
        spec.input = key_of(plain_folder(flake), path)
        found = []
        if spec.HasField("url") and spec.HasField("follows"):
            found.append(
                Violation("follows", "an input has an address or follows another one: give url or follows")
            )
        if spec.HasField("url") and has_secret(spec.url):
            text = "holds a password or token: keep it out (access-tokens or netrc-file in nix.conf)"
            found.append(Violation("url", text))
        if spec.HasField("url") and "/" in path:
            found.append(Violation("url", "can be said only of the flake's own inputs"))
        if spec.HasField("follows") and spec.pin:
            found.append(Violation("pin", "an input that follows another one can't be pinned: pin that one"))
        spec.ClearField("revision")
        spec.ClearField("modified")
        return found

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detected[FlakeInput] | ControlError | None]:
        holds = self._holds.all()
        found: dict[str, Detected[FlakeInput] | ControlError | None] = {}
        for key in keys:
            flake, path = split_key(key)
            try:
                one = None if key in self._released else self._inputs(flake).get(path)
                found[key] = None if one is None else _detected(key, one, holds.get(key, Hold()))
            except NotFound:
                found[key] = None
            except ControlError as error:
                found[key] = error
        return found

    def apply(self, change: Change[FlakeInput], report: Report) -> Applied:
        key = change.key
        if change.action is Action.DELETE or change.desired is None:
            self._released.add(key)
            lifted = self._holds.set(key, Hold())
            return Applied(
                f"{key} may be updated again" if lifted else f"{key} stays as it is", changed=lifted
            )
        self._released.discard(key)
        desired = change.desired
        flake, path = split_key(key)
        one = self._inputs(flake).get(path)
        if one is None:
            raise NotFound(
                f"{flake}/flake.nix has no input {path}",
                next_step=_missing_line(path, desired),
            )
        if desired.pin and one.follows is not None:
            raise WrongState(f"{path} follows {one.follows}", next_step=f"pin {one.follows}")
        changed = self._holds.set(key, Hold(desired.pin, desired.hold))
        _compare(flake, one, desired)
        if desired.pin and one.revision != desired.pin:
            order = Order(
                flake,
                mode=Mode.LOCK,
                pins=((path, desired.pin),),
                requested_by=f"FlakeInput {key}",
            )
            self._cycle.run(order, lambda step: _told(report, step), threading.Event())
            return Applied(f"{path} is pinned to {desired.pin[:12]}")
        if not changed:
            return Applied(f"{key} was so already", changed=False)
        return Applied(f"{path} is {'held' if desired.hold or desired.pin else 'free to be updated'}")

    def enumerate(self) -> Sequence[str]:
        found = []
        for flake in self._flakes():
            try:
                found += [key_of(flake, path) for path in self._inputs(flake) if "/" not in path]
            except ControlError:
                continue  # no flake there, or none that can be read: nothing to list
        return found

    def watch(self, emit: Emit) -> None:
        self._thread = threading.Thread(target=self._poll, args=(emit,), name="flakes", daemon=True)
        self._thread.start()

    def hold(self, keys: Sequence[str]) -> None:
        for flake in {split_key(key)[0] for key in keys}:
            # From now on: the first look must not take a change for how it always was.
            self._stamps.setdefault(flake, self._stamp(flake))
        self._held = self._held | set(keys)

    def drop(self, keys: Sequence[str]) -> None:
        self._held = self._held - set(keys)
        self._released -= set(keys)

    def close(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _inputs(self, flake: str) -> Mapping[str, Input]:
        """By path; read again only when a file changed."""
        if self._unsupported:
            raise Unsupported(self._unsupported)
        stamp = self._driver.flakes.stamp(flake)
        seen = self._seen.get(flake)
        if seen is not None and seen[0] == stamp:
            return seen[1]
        found = {one.path: one for one in self._driver.flakes.inputs(flake)}
        self._seen[flake] = (stamp, found)
        return found

    def _poll(self, emit: Emit) -> None:
        while not self._over.wait(self._seconds):
            held = self._held
            for flake in {split_key(key)[0] for key in held}:
                stamp = self._stamp(flake)
                if self._stamps.get(flake) != stamp:
                    self._stamps[flake] = stamp
                    emit([key for key in held if split_key(key)[0] == flake])

    def _stamp(self, flake: str) -> object:
        try:
            return self._driver.flakes.stamp(flake)
        except ControlError:
            return None


def _detected(key: str, input: Input, hold: Hold) -> Detected[FlakeInput]:
    spec = FlakeInput(input=key, pin=input.revision if hold.pin else "", hold=hold.hold)
    if input.url is not None:
        spec.url = input.url
    if input.follows is not None:
        spec.follows = input.follows
    if input.revision:
        spec.revision = input.revision
    if input.time is not None:
        spec.modified = datetime.fromtimestamp(input.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    unhealthy = ""
    if not input.locked and input.follows is None:
        unhealthy = "it is not in the lock file yet; `ncc update run --mode lock` or any build locks it"
    return Detected(spec, unhealthy=unhealthy)


def _compare(flake: str, input: Input, desired: FlakeInput) -> None:
    """flake.nix is the owner's: what differs there is told with the line to change."""
    where = f"{flake}/flake.nix" + (f", line {input.line}" if input.line else "")
    attribute = f"inputs.{input.path.replace('/', '.inputs.')}"
    wishes = (
        ("url", desired.url if desired.HasField("url") else None, input.url),
        ("follows", desired.follows if desired.HasField("follows") else None, input.follows),
    )
    for field, wanted, has in wishes:
        if wanted is not None and wanted != has:
            says = f'{attribute}.{field} = "{has}"' if has is not None else f"no {field} of {input.path}"
            raise WrongState(
                f"{where} says {says}; that file is yours and is never written here",
                next_step=f"write there: {attribute}.{field} = {nix_text(wanted)};",
            )


def _missing_line(path: str, desired: FlakeInput) -> str:
    attribute = f"inputs.{path.replace('/', '.inputs.')}"
    if desired.HasField("follows"):
        return f"add there: {attribute}.follows = {nix_text(desired.follows)};"
    return f"add there: {attribute}.url = {nix_text(desired.url) if desired.url else '…'};"


def nix_text(text: str) -> str:
    """A Nix string, for people to copy."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return f'"{escaped}"'


def _told(report: Report, step: Step) -> None:
    if step.line is None:
        report(step.message, step.percent)
