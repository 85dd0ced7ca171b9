"""The host's generations, over the wire: only the system service builds and switches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format

from common.errors import (
    ControlError,
    HostUnavailable,
    NotFound,
    RolledBack,
    WrongState,
    from_rpc_error,
)
from common.rpc import CHANNEL_OPTIONS, METADATA, target
from nixcc.system.v1 import generation_pb2 as pb
from nixcc.system.v1 import generation_pb2_grpc
from services.updater.drivers.base import Outcome, Report, Step, Switched
from services.updater.models import Check, Impact, Mode, Order, Package

_SHORT = 30.0
_LONG = 6 * 3_600.0
_ENDED = {
    pb.WINDOW_STATE_CONFIRMED: Outcome.CONFIRMED,
    pb.WINDOW_STATE_ROLLED_BACK: Outcome.ROLLED_BACK,
    # The boot default is the old one; what the reason says needs its owner all the same.
    pb.WINDOW_STATE_REVERT_FAILED: Outcome.ROLLED_BACK,
}
_MODES = {Mode.BOOT: pb.SWITCH_MODE_BOOT, Mode.SWITCH: pb.SWITCH_MODE_SWITCH}


class SystemService:
    """nixcc.system.v1.GenerationService at a socket; connected when first needed."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None

    def build(self, reference: str, configuration: str, report: Report, cancel: threading.Event) -> str:
        spec = pb.Generation(flake=reference)
        if configuration:
            spec.attribute = configuration
        request = pb.BuildGenerationRequest(generation=spec)
        built: pb.BuiltGeneration = self._streamed(self._stub().BuildGeneration, request, report, cancel)
        return built.toplevel

    def impact(self, toplevel: str, activation: bool, report: Report, cancel: threading.Event) -> Impact:
        request = pb.DiffGenerationRequest(
            generation=pb.Generation(toplevel=toplevel), skip_activation=not activation
        )
        diff: pb.GenerationDiff = self._streamed(self._stub().DiffGeneration, request, report, cancel)
        return Impact(
            toplevel=diff.new_toplevel or toplevel,
            packages=tuple(
                Package(
                    package.name,
                    ", ".join(package.old_versions),
                    ", ".join(package.new_versions),
                    package.size_change,
                )
                for package in diff.packages
            ),
            closure_size=diff.new_closure_bytes,
            closure_change=diff.new_closure_bytes - diff.old_closure_bytes,
            reboot_needed=bool(diff.reboot_reasons),
            reboot_reasons=tuple(diff.reboot_reasons),
            activation=tuple(_activation(diff)),
        )

    def probe(self, probes: Sequence[str], report: Report, cancel: threading.Event) -> Sequence[Check]:
        if not probes:
            return []
        wanted = _probes(probes)
        request = pb.ProbeGenerationRequest(generation=pb.Generation(probes=wanted))
        found: pb.ProbedGeneration = self._streamed(self._stub().ProbeGeneration, request, report, cancel)
        failed = {text.removeprefix("probe ").partition(":")[0]: text for text in found.failures}
        return [
            Check(probe.name, probe.name not in failed, failed.get(probe.name, "").partition(": ")[2])
            for probe in wanted
        ]

    def generation(self) -> int:
        response = self._unary(self._stub().ListGenerations, pb.ListGenerationsRequest())
        return next((row.number for row in response.generations if row.current), 0)

    def toplevel(self, generation: int) -> str:
        response = self._unary(self._stub().ListGenerations, pb.ListGenerationsRequest())
        for row in response.generations:
            if row.number == generation:
                return str(row.toplevel)
        raise NotFound(
            f"generation {generation} is gone",
            next_step="ncc generation list; --lock-only takes the lock file back",
        )

    def mark(self) -> str:
        return str(self._window().id)

    def switch(self, toplevel: str, order: Order, report: Report, cancel: threading.Event) -> Switched:
        spec = pb.Generation(
            toplevel=toplevel,
            mode=_MODES[order.mode],
            deadline=max(2, order.confirm_within),
            confirm=pb.CONFIRMATION_MANUAL if order.manual else pb.CONFIRMATION_AUTO,
            no_new_failed_units=True,
            probes=_probes(order.probes),
        )
        request = pb.SwitchGenerationRequest(generation=spec)
        return self._judged(lambda: self._streamed(self._stub().SwitchGeneration, request, report, cancel))

    def outcome(self, mark: str, toplevel: str) -> Switched:
        window = self._window()
        if not window.id or window.id == mark or window.new_toplevel != toplevel:
            return Switched(Outcome.UNKNOWN)
        outcome = _ENDED.get(window.state, Outcome.OPEN)
        number = self.generation() if outcome is Outcome.CONFIRMED else 0
        return Switched(outcome, number, window.reason)

    def roll_back(self, generation: int, report: Report, cancel: threading.Event) -> int:
        request = pb.RollbackGenerationRequest(number=generation)
        done = self._judged(lambda: self._streamed(self._stub().RollbackGeneration, request, report, cancel))
        if done.outcome is not Outcome.CONFIRMED:
            raise WrongState(
                f"going back to generation {generation} failed: {done.message}",
                next_step="ncc generation tells what runs now",
            )
        return done.generation

    def close(self) -> None:
        """Disconnects."""
        with self._lock:
            if self._channel is not None:
                self._channel.close()
                self._channel = None

    def _judged(self, call: Callable[[], Any]) -> Switched:
        try:
            call()
        except RolledBack as error:
            return Switched(Outcome.ROLLED_BACK, 0, error.message)
        return Switched(Outcome.CONFIRMED, self.generation())

    def _window(self) -> pb.Window:
        window: pb.Window = self._unary(self._stub().GetWindow, pb.GetWindowRequest()).window
        return window

    def _stub(self) -> Any:
        if not self._socket.exists():
            raise HostUnavailable(
                f"the system service does not run: there is no {self._socket}",
                retry_after=5.0,
                next_step="start it: ncc serve",
            )
        with self._lock:
            if self._channel is None:
                self._channel = grpc.insecure_channel(target(self._socket), options=CHANNEL_OPTIONS)
            return generation_pb2_grpc.GenerationServiceStub(self._channel)

    def _unary(self, method: Callable[..., Any], request: Any) -> Any:
        with _told():
            return method(request, timeout=_SHORT, metadata=METADATA)

    def _streamed(
        self, method: Callable[..., Any], request: Any, report: Report, cancel: threading.Event
    ) -> Any:
        """The stream's result; its progress is passed on. `cancel` ends the call."""
        with _told():
            call = method(request, timeout=_LONG, metadata=METADATA)
            with _cancelled_by(cancel, call):
                for response in call:
                    if response.WhichOneof("event") == "result":
                        return response.result
                    progress = response.progress
                    report(
                        Step(
                            progress.message,
                            progress.percent if progress.HasField("percent") else None,
                            progress.log_line if progress.HasField("log_line") else None,
                        )
                    )
        raise ControlError("the system service ended its answer without a result")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None


@contextmanager
def _cancelled_by(cancel: threading.Event, call: Any) -> Iterator[None]:
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            if cancel.is_set():
                call.cancel()
                return

    thread = threading.Thread(target=watch, name="cancel-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _probes(texts: Sequence[str]) -> list[pb.Probe]:
    return [json_format.Parse(text, pb.Probe()) for text in texts]


def _activation(diff: pb.GenerationDiff) -> Iterator[str]:
    if not diff.HasField("units"):
        return
    units = diff.units
    for verb, names in (
        ("would stop", units.stop),
        ("would restart", units.restart),
        ("would start", units.start),
        ("would reload", units.reload),
        ("would leave, though changed,", units.keep),
    ):
        if names:
            yield f"{verb} {', '.join(names)}"
    if units.systemd:
        yield "would restart systemd"
    for inhibitor in diff.inhibitors:
        yield f"can't be switched while running: {inhibitor}"
