"""One controller a service: its queue and its workers, so that a hanging service delays nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

import structlog

from common.telemetry import Histogram, Sample
from reconciler.catalog import Catalog
from reconciler.link import ServiceLink
from reconciler.outcome import After, Done, Outcome, Retry, failed, internal
from reconciler.queue import Priority, WorkQueue
from reconciler.reconcile import Reconciler
from reconciler.recorder import Settle
from reconciler.resources import Entry, Ref, Resources

log = structlog.get_logger()

WORKERS = 4
BATCH = 256
# Hints this soon after our own Apply are its echo: one more look covers them all.
_ECHO = 0.03


class Controller:
    """Takes ready keys of one service, a kind at a time, and has them reconciled."""

    def __init__(
        self, link: ServiceLink, catalog: Catalog, resources: Resources, reconciler: Reconciler
    ) -> None:
        self.link = link
        self.queue: WorkQueue[Ref] = WorkQueue()
        self._catalog = catalog
        self._resources = resources
        self._reconciler = reconciler
        self._workers: list[asyncio.Task[None]] = []
        # Who waits for the next run of a key, and for the one that goes on.
        self._waiting: dict[Ref, list[asyncio.Future[Outcome]]] = {}
        self._promised: dict[Ref, list[asyncio.Future[Outcome]]] = {}
        self._started: dict[Ref, float] = {}
        self._results: dict[str, int] = {}
        self._seconds = Histogram()

    def start(self) -> None:
        """Starts the workers."""
        self._workers = [
            asyncio.create_task(self._work(), name=f"worker-{self.link.name}-{number}")
            for number in range(WORKERS)
        ]

    async def close(self) -> None:
        """Lets running reconciles end; the rest is looked at after the next start."""
        self.queue.shut_down(drop=True)
        await asyncio.wait(self._workers, timeout=5)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for futures in (*self._waiting.values(), *self._promised.values()):
            for future in futures:
                future.cancel()

    def hint(self, entry: Entry) -> None:
        """The host may have changed under this resource."""
        now = time.monotonic()
        entry.noticed = entry.noticed or now
        echo = entry.applied_at + _ECHO - now
        if echo > 0:
            self.queue.add_after(entry.ref, echo)
            return
        self.queue.add(entry.ref, Priority.HINT)

    def settled(self, ref: Ref) -> asyncio.Future[Outcome]:
        """Resolves with the outcome of the next reconcile that begins; add the key to the queue afterwards."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(ref, []).append(future)
        return future

    def samples(self) -> Iterable[Sample]:
        """Metrics named as controller-runtime's."""
        name = ("controller", self.link.name)
        for result, count in list(self._results.items()):
            labels = (name, ("result", result))
            yield Sample(
                "controller_runtime_reconcile_total", "Reconciles by result.", "counter", count, labels
            )
        errors = sum(count for result, count in self._results.items() if result in ("error", "terminal"))
        yield Sample(
            "controller_runtime_reconcile_errors_total", "Failed reconciles.", "counter", errors, (name,)
        )
        yield Sample(
            "controller_runtime_reconcile_time_seconds",
            "Time of one reconcile.",
            "histogram",
            self._seconds,
            (name,),
        )
        yield Sample(
            "controller_runtime_active_workers", "Keys at work.", "gauge", len(self._started), (name,)
        )
        yield Sample(
            "controller_runtime_max_concurrent_reconciles", "Workers.", "gauge", WORKERS * BATCH, (name,)
        )

    async def _work(self) -> None:
        while True:
            batch = await self.queue.get_batch(_kind, BATCH)
            if not batch:
                return
            settle = self._begun(batch)
            try:
                info = self._catalog.kinds.get(batch[0][0])
                if info is None:
                    for ref in batch:
                        settle(ref, Done())
                    continue
                await self._reconciler.batch(info, [name for _, name in batch], settle)
            except Exception as error:  # a bug in one batch must not end the loop for everybody
                log.exception("reconcile crashed", kind=batch[0][0], resources=len(batch))
                for ref in batch:
                    settle(ref, Retry(internal(error)))

    def _begun(self, batch: Sequence[Ref]) -> Settle:
        """How this batch is settled: each key once, and never a later run of the same key."""
        now = time.monotonic()
        open_ = set(batch)
        for ref in batch:
            self._started[ref] = now
            self._promised[ref] = self._waiting.pop(ref, [])

        def settle(ref: Ref, outcome: Outcome) -> None:
            if ref in open_:
                open_.discard(ref)
                self._settle(ref, outcome)

        return settle

    def _settle(self, ref: Ref, outcome: Outcome) -> None:
        self._seconds.observe(time.monotonic() - self._started.pop(ref))
        label = _LABELS.get(type(outcome).__name__, "success")
        self._results[label] = self._results.get(label, 0) + 1
        if isinstance(outcome, Retry):
            self.queue.retry(ref, at_least=outcome.delay)
        elif isinstance(outcome, After):
            self.queue.forget(ref)
            self.queue.add_after(ref, outcome.seconds)
        elif not failed(outcome):
            self.queue.forget(ref)
        self.queue.done(ref)
        for future in self._promised.pop(ref):
            if not future.done():
                future.set_result(outcome)


_LABELS = {"Retry": "error", "After": "requeue_after", "Blocked": "blocked", "Terminal": "terminal"}


def _kind(ref: Ref) -> str:
    return ref[0]
