"""Policies run by themselves: when due, once, with their results told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from common.errors import ControlError, HostUnavailable
from nixcc.updater.v1 import update_policy_pb2 as pb
from services.updater.drivers.base import Outcome, Switched
from services.updater.models import Phase, Result
from services.updater.orders import Orders
from services.updater.policies import Policies, PolicyRow
from services.updater.scheduler import RETRIES, Scheduler
from updater_host import FLAKE, A, B, Host, revision

# 2026-11-24 00:00 UTC.
START = 1_795_478_400.0
HOUR = 3_600.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Bench:
    """A scheduler whose thread does not run: tests say when it looks."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.clock = Clock()
        self.changed: list[str] = []
        self.policies = Policies(host.folder / "policies")
        self.restart()

    def restart(self) -> None:
        self.host.restart()
        self.scheduler = Scheduler(
            self.policies,
            Orders(self.policies),
            self.host.cycle,
            self.host.history,
            self.host.driver,
            clock=self.clock,
            changed=self.changed.append,
        )

    def policy(self, name: str = "nightly", **fields: object) -> None:
        spec = pb.UpdatePolicy(flake=FLAKE, schedule="0 4 * * *", mode=pb.UPDATE_MODE_SWITCH)
        spec.MergeFrom(pb.UpdatePolicy(**fields))  # type: ignore[arg-type]
        self.policies.put(name, spec, self.clock.now)

    def at(self, hours: float) -> int:
        """Looks at that time, waits for what it started; gives how many updates there were since."""
        self.clock.now = START + hours * HOUR
        before = len(self.host.history.all())
        self.scheduler.look()
        for thread in list(self.scheduler._running.values()):
            thread.join(30)
            assert not thread.is_alive()
        return len(self.host.history.all()) - before

    def row(self, name: str = "nightly") -> PolicyRow:
        found = self.policies.get(name)
        assert found is not None
        return found


@pytest.fixture
def bench(host: Host) -> Bench:
    return Bench(host)


def test_runs_when_due_and_once(bench: Bench) -> None:
    bench.policy()
    assert bench.at(3.99) == 0
    assert bench.at(4) == 1
    assert bench.at(4) == 0
    assert bench.at(27) == 0
    assert bench.host.locked("a") == revision(2)
    row = bench.row()
    update = bench.host.history.all()[0]
    assert (row.last_id, row.failed, row.last_run) == (update.id, False, START + 4 * HOUR)
    assert row.last_result == f"succeeded: {update.message}"
    assert (update.policy, update.requested_by) == ("nightly", "UpdatePolicy/nightly")
    assert bench.changed == ["nightly"]
    due = bench.scheduler.next_run(row)
    assert due is not None
    assert due.timestamp() == START + 28 * HOUR


def test_missed_runs_happen_once(bench: Bench) -> None:
    bench.policy()
    bench.restart()
    assert bench.at(24 * 9 + 13) == 1
    assert bench.at(24 * 9 + 13.1) == 0
    assert bench.at(24 * 10 + 4) == 1


def test_window_is_respected(bench: Bench) -> None:
    bench.policy(schedule="0 12 * * *", window=pb.UpdateWindow(begin="02:00", duration=3600))
    assert bench.at(12.5) == 0
    assert bench.at(25.9) == 0
    assert bench.at(26) == 1
    assert bench.at(26.5) == 0


def test_clock_that_goes_back(bench: Bench) -> None:
    """A run in the wrong future must not keep the next ones from running."""
    bench.policy()
    assert bench.at(24 * 365 * 4) == 1
    assert bench.at(1) == 0
    assert bench.at(4) == 1


def test_disabled(bench: Bench) -> None:
    bench.policy(enabled=False)
    assert bench.at(24 * 9) == 0
    assert bench.scheduler.next_run(bench.row()) is None


def test_killed_in_a_run_does_not_run_again_at_once(bench: Bench) -> None:
    bench.policy()

    class Killed(BaseException):
        pass

    def die(step: str) -> None:
        raise Killed

    bench.host.driver.system.on = die
    bench.host.cycle._failed = lambda update, error: None  # type: ignore[method-assign]
    hook, threading.excepthook = threading.excepthook, lambda args: None
    try:
        assert bench.at(4) == 1
    finally:
        threading.excepthook = hook
    bench.host.driver.system.on = lambda step: None
    bench.restart()
    assert bench.at(4.1) == 0
    bench.scheduler._recover()
    assert bench.host.history.all()[0].result is Result.ABORTED
    assert bench.row().failed
    assert bench.row().last_result.startswith("aborted: ")
    assert bench.at(28) == 1
    assert not bench.row().failed


def test_bad_verdict_is_told(bench: Bench) -> None:
    bench.host.driver.system.verdict = Switched(Outcome.ROLLED_BACK, 1, "probe web failed")
    bench.policy(notify=pb.UpdateNotification(command=["/bin/tell"], webhook_file="/etc/hook"))
    bench.at(4)
    assert bench.row().failed
    assert bench.row().last_result == "rolled back: probe web failed"
    told = bench.host.driver.notifier.told
    assert [to for to, _ in told] == ["/bin/tell", "/etc/hook"]
    body = json.loads(told[0][1])
    assert (body["policy"], body["update"]["result"]) == ("nightly", "UPDATE_RESULT_ROLLED_BACK")
    assert "probe web failed" in body["error"]


@pytest.mark.parametrize(("always", "told"), [(False, 0), (True, 1)])
def test_nothing_to_do_is_told_only_where_wanted(bench: Bench, always: bool, told: int) -> None:
    bench.host.run()
    bench.policy(notify=pb.UpdateNotification(command=["/bin/tell"], always=always))
    assert bench.at(4) == 1
    assert len(bench.host.driver.notifier.told) == told
    assert bench.row().last_result == "unchanged: every input is at its newest"


def test_trouble_with_telling_changes_nothing(bench: Bench) -> None:
    def fail(argv: object, body: object) -> None:
        raise ControlError("no mail today")

    bench.host.driver.notifier.command = fail  # type: ignore[method-assign]
    bench.policy(notify=pb.UpdateNotification(command=["/bin/tell"]))
    bench.at(4)
    assert not bench.row().failed
    assert any("no mail today" in line for line in bench.host.history.log(bench.row().last_id))


def test_unreachable_sources_are_tried_again_a_few_times(bench: Bench) -> None:
    bench.host.driver.flakes.unreachable |= {A, B}
    bench.policy()
    hours = 4.0
    assert bench.at(hours) == 1
    for delay in RETRIES:
        assert bench.row().retry_at == START + hours * HOUR + delay
        assert bench.at(hours + (delay - 1) / HOUR) == 0
        hours += delay / HOUR
        assert bench.at(hours) == 1
    assert bench.row().retry_at is None
    assert bench.at(24) == 0
    assert bench.row().failed
    bench.host.driver.flakes.unreachable.clear()
    assert bench.at(28) == 1
    assert (bench.row().failed, bench.row().attempts) == (False, 0)


def test_policy_that_meets_another_update_waits_for_it(bench: Bench) -> None:
    bench.policy()
    with bench.host.driver.flakes.owned(FLAKE):
        assert bench.at(4) == 0
    assert bench.row().retry_at == START + 4 * HOUR + RETRIES[0]
    assert bench.at(4 + RETRIES[0] / HOUR) == 1
    assert not bench.row().failed


def test_policy_of_a_flake_that_is_gone(bench: Bench) -> None:
    bench.policy(flake="/nowhere")
    assert bench.at(4) == 0
    row = bench.row()
    assert (row.failed, row.last_id) == (True, "")
    assert "no flake in /nowhere" in row.last_result


# The real thread.


@pytest.fixture
def running(bench: Bench) -> Iterator[Bench]:
    bench.clock.now = time.time()
    bench.scheduler._clock = time.time
    bench.scheduler.start()
    yield bench
    bench.scheduler.close()
    assert not bench.scheduler._thread.is_alive()


def until(test: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not test():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_thread_is_woken_by_a_new_policy(running: Bench) -> None:
    running.policies.put("now", pb.UpdatePolicy(flake=FLAKE, schedule="* * * * *"), time.time() - 120)
    running.scheduler.wake()
    until(lambda: running.row("now").last_id)
    assert running.row("now").last_result.startswith("available: ")


def test_thread_finishes_what_waits_for_the_system_service(running: Bench) -> None:
    host = running.host

    def lose(step: str) -> None:
        if step == "switched":
            host.driver.system.reachable = False
            raise HostUnavailable("connection lost")

    host.driver.system.on = lose
    with pytest.raises(HostUnavailable):
        host.run()
    assert host.history.all()[0].phase is Phase.SWITCHING
    host.driver.system.on = lambda step: None
    host.driver.system.reachable = True
    until(lambda: running.scheduler.wake() or host.history.all()[0].phase is Phase.DONE)
    assert host.history.all()[0].result is Result.SUCCEEDED
