"""Waits until resources are ready, showing on a terminal how far they are and in a pipe what became of each."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from cli.client import Client
from cli.conditions import is_ready, is_stuck, status, why_not
from cli.output import paint, printable
from common.errors import DeadlineExceeded, HostUnavailable, OutOfRange

Ref = tuple[str, str]

_DELETED = 3


def wait_until_ready(
    client: Client, refs: Sequence[tuple[str, str, bool]], *, deadline: float, quiet: bool = False
) -> int:
    """0 when all are ready (or gone, where the third item says so), 1 when one is stuck, 8 at the deadline.

    `deadline` is on the monotonic clock.
    """
    wait = _Wait(refs, quiet)
    while not wait.over:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            wait.follow(client, left)
        except (DeadlineExceeded, OutOfRange):
            continue
        except HostUnavailable:
            if time.monotonic() + 0.2 >= deadline:
                raise
            time.sleep(0.2)  # the daemon may be restarting
    return wait.finish()


class _Wait:
    def __init__(self, refs: Sequence[tuple[str, str, bool]], quiet: bool) -> None:
        self._want_gone = {(kind, name) for kind, name, gone in refs if gone}
        self._open: dict[Ref, Any] = {(kind, name): None for kind, name, _ in refs}
        self._total = len(refs)
        self._stuck: dict[Ref, str] = {}
        self._quiet = quiet
        self._live = sys.stdout.isatty() and not quiet
        self._drawn = 0.0

    @property
    def over(self) -> bool:
        """Nothing is left to wait for."""
        return not self._open

    def follow(self, client: Client, seconds: float) -> None:
        """Watches until all is settled, for at most `seconds`."""
        from nixcc.state.v1 import state_pb2

        kinds = {kind for kind, _ in self._open}
        request = state_pb2.WatchRequest(send_initial=True)
        if len(kinds) == 1:
            request.kind = next(iter(kinds))
        seen: set[Ref] = set()
        initial = True
        for event in client.stream(client.state.Watch, request, timeout=seconds):
            if event.type == state_pb2.WATCH_EVENT_TYPE_BOOKMARK and initial:
                initial = False
                for ref in [ref for ref in self._open if ref not in seen]:
                    self._gone(ref)
            elif event.HasField("resource"):
                resource = event.resource
                ref = (resource.kind, resource.metadata.name)
                seen.add(ref)
                if ref in self._open:
                    if event.type == _DELETED:
                        self._gone(ref)
                    else:
                        self._look(ref, resource)
            if self.over:
                return

    def finish(self) -> int:
        """Says what is not ready; gives the exit code."""
        if self._live:
            sys.stdout.write("\r\x1b[K")
        for (kind, name), text in self._stuck.items():
            print(f"{kind}/{name} {paint('not ready', '31', sys.stderr)}: {printable(text)}", file=sys.stderr)
        for (kind, name), resource in self._open.items():
            text = why_not(resource) if resource is not None else "not looked at yet"
            print(f"{kind}/{name} {paint('timed out', '31', sys.stderr)}: {printable(text)}", file=sys.stderr)
        if self._open:
            return 8
        return 1 if self._stuck else 0

    def _look(self, ref: Ref, resource: Any) -> None:
        self._open[ref] = resource
        if ref in self._want_gone:
            return
        if is_ready(resource):
            self._settled(ref, "ready")
        elif is_stuck(resource):
            self._stuck[ref] = why_not(resource)
            self._settled(ref, "")
        self._draw()

    def _gone(self, ref: Ref) -> None:
        if ref not in self._want_gone:
            self._stuck[ref] = "it was deleted meanwhile"
            self._settled(ref, "")
        else:
            self._settled(ref, "gone")

    def _settled(self, ref: Ref, word: str) -> None:
        del self._open[ref]
        if word and not self._live and not self._quiet:
            print(f"{ref[0]}/{ref[1]} {word}", flush=True)

    def _draw(self) -> None:
        now = time.monotonic()
        if not self._live or (now - self._drawn < 0.05 and self._open):
            return
        self._drawn = now
        done = self._total - len(self._open)
        width = 24
        bar = "█" * (width * done // self._total) + "·" * (width - width * done // self._total)
        waiting = ""
        if self._open:
            (kind, name), resource = next(iter(self._open.items()))
            state = "" if resource is None else f" {status(resource, 'Ready')}"
            waiting = f"  {kind}/{name}{state}"
        sys.stdout.write(f"\r\x1b[K{bar} {done}/{self._total}{printable(waiting)[:60]}")
        sys.stdout.flush()
