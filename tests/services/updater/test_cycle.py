"""Whole updates on a host in memory: what stays, what is put back, what is finished after a restart."""

from __future__ import annotations

import pytest

from common.errors import (
    Cancelled,
    Conflict,
    ControlError,
    Forbidden,
    HostUnavailable,
    InvalidRequest,
    NotFound,
    RolledBack,
    WrongState,
)
from services.updater.drivers.base import Outcome, Switched
from services.updater.models import Check, Hold, Mode, Phase, Result, Update, Validation
from updater_host import FLAKE, A, B, Host, revision


class Killed(BaseException):
    """What a test's kill -9 is in one process: nothing but `finally` runs after it."""


def test_switch(host: Host) -> None:
    before = host.flake.lock
    done = host.cycle.run(host.order(requested_by="alice"), host.report, host.cancel)
    assert (done.result, done.phase) == (Result.SUCCEEDED, Phase.DONE)
    assert (done.old_generation, done.new_generation, host.driver.system.current) == (1, 2, 2)
    assert [(c.path, c.old_revision, c.new_revision) for c in done.changes] == [
        ("a", revision(1), revision(2))
    ]
    assert host.locked("a") == revision(2)
    assert host.locked("b") == revision(11)
    assert host.flake.lock == host.flake.committed != before
    assert host.flake.commits[-1].startswith("flake.lock: update a\n\na: 000000000000 → 000000000000")
    assert done.commit
    assert done.impact is not None
    assert done.impact.toplevel == host.driver.system.generations[2]
    assert host.history.get(done.id) == done
    assert done.requested_by == "alice"
    assert any("switching" in step.message for step in host.steps)
    assert not (host.history.folder(done.id) / "flake").exists()


def test_boot(host: Host) -> None:
    done = host.cycle.run(host.order(Mode.BOOT), host.report, host.cancel)
    assert done.message == "updated a; generation 2 starts with the next boot"


def test_nothing_to_update(host: Host) -> None:
    host.run()
    done = host.cycle.run(host.order(), host.report, host.cancel)
    assert (done.result, done.message) == (Result.UNCHANGED, "every input is at its newest")
    assert host.driver.system.current == 2


@pytest.mark.parametrize(
    ("mode", "result", "built"),
    [(Mode.CHECK, Result.AVAILABLE, 0), (Mode.BUILD, Result.SUCCEEDED, 1)],
)
def test_modes_that_change_nothing(host: Host, mode: Mode, result: Result, built: int) -> None:
    before = host.flake.lock
    done = host.cycle.run(host.order(mode), host.report, host.cancel)
    assert done.result is result
    assert len(host.driver.system.builds) == built
    assert (host.flake.lock, host.driver.system.current) == (before, 1)


def test_lock_mode_builds_nothing(host: Host) -> None:
    done = host.cycle.run(host.order(Mode.LOCK), host.report, host.cancel)
    assert (done.result, host.locked("a"), host.driver.system.builds) == (Result.SUCCEEDED, revision(2), [])


def test_check_tells_the_plan(host: Host) -> None:
    host.driver.flakes.sources[B].append(revision(12))
    host.holds.set(f"{FLAKE}#b", Hold(hold=True))
    plan = host.cycle.check(host.order(), True, host.report, host.cancel)
    assert [change.path for change in plan.changes] == ["a"]
    assert plan.kept == ("b",)
    assert plan.impact is not None
    assert plan.impact.reboot_needed
    assert host.history.all()[0].mode is Mode.LOCK  # the check left no row
    assert not list((host.folder / "work").iterdir())


def test_some_inputs(host: Host) -> None:
    host.driver.flakes.sources[B].append(revision(12))
    done = host.cycle.run(host.order(Mode.LOCK, inputs=("b",)), host.report, host.cancel)
    assert [change.path for change in done.changes] == ["b"]
    assert host.locked("a") == revision(1)


@pytest.mark.parametrize(("name", "error"), [("nothing", NotFound), ("c", InvalidRequest), ("b", WrongState)])
def test_inputs_that_cannot_be_updated(host: Host, name: str, error: type[ControlError]) -> None:
    host.holds.set(f"{FLAKE}#b", Hold(pin=revision(11)))
    with pytest.raises(error):
        host.run(inputs=(name,))
    assert host.history.all()[0].result is Result.FAILED


def test_pin(host: Host) -> None:
    host.run(Mode.LOCK)
    host.run(Mode.LOCK, pins=(("a", revision(1)),))
    assert host.locked("a") == revision(1)
    with pytest.raises(NotFound):
        host.run(Mode.LOCK, pins=(("a", revision(9)),))
    assert host.locked("a") == revision(1)


def test_unhealthy_switch_takes_the_lock_file_back(host: Host) -> None:
    before = host.flake.lock
    host.driver.system.verdict = Switched(Outcome.ROLLED_BACK, 1, "probe web: connection refused")
    with pytest.raises(RolledBack, match="connection refused") as caught:
        host.run()
    row = host.history.all()[0]
    assert row.id in caught.value.next_step
    assert (row.result, row.phase) == (Result.ROLLED_BACK, Phase.DONE)
    assert host.flake.lock == before == host.flake.committed
    assert len(host.flake.commits) == 1


def test_unhealthy_switch_may_leave_the_lock_file(host: Host) -> None:
    host.driver.system.verdict = Switched(Outcome.ROLLED_BACK, 1, "no")
    with pytest.raises(RolledBack):
        host.run(restore_lock=False)
    assert host.locked("a") == revision(2)
    assert host.history.all()[0].result is Result.ROLLED_BACK


@pytest.mark.parametrize("step", ["build", "impact", "generation", "switch"])
def test_failure_leaves_the_old_lock_file(host: Host, step: str) -> None:
    before = host.flake.lock

    def fail(at: str) -> None:
        if at == step:
            raise WrongState("the disk is full", next_step="make room")

    host.driver.system.on = fail
    with pytest.raises(WrongState, match="disk is full"):
        host.run()
    row = host.history.all()[0]
    assert (row.result, row.phase) == (Result.FAILED, Phase.DONE)
    assert row.message == "the disk is full; make room"
    assert host.flake.lock == before
    assert "the disk is full; make room" in host.history.log(row.id)


def test_cancelled_build(host: Host) -> None:
    def cancel(step: str) -> None:
        host.cancel.set()

    host.driver.system.on = cancel
    with pytest.raises(Cancelled):
        host.run()
    assert host.history.all()[0].result is Result.ABORTED
    assert host.locked("a") == revision(1)


def test_probes_that_fail_already(host: Host) -> None:
    host.driver.system.failing_probes = [Check("web", False, "connection refused")]
    with pytest.raises(WrongState, match="fails before the update already"):
        host.run(validation=Validation.PROBES)
    assert (host.locked("a"), host.driver.system.current) == (revision(1), 1)


def test_validation_tells_what_fails(host: Host) -> None:
    plan, checks = host.cycle.validate(host.order(), host.report, host.cancel)
    assert [check.name for check in checks] == ["evaluate and build", "dry-activate"]
    assert all(check.passed for check in checks)
    assert plan.impact is not None
    assert plan.impact.activation

    def fail(at: str) -> None:
        if at == "impact":
            raise WrongState("activate has no dry run")

    host.driver.system.on = fail
    _, checks = host.cycle.validate(host.order(), host.report, host.cancel)
    assert [(check.name, check.passed) for check in checks] == [
        ("evaluate and build", True),
        ("dry-activate", False),
    ]
    assert host.locked("a") == revision(1)


def test_lock_file_changed_while_it_was_built(host: Host) -> None:
    def edit(step: str) -> None:
        if step == "build":
            host.flake.lock = host.flake.lock.replace(b"\n", b" \n", 1)

    host.driver.system.on = edit
    with pytest.raises(Conflict):
        host.run()
    assert host.flake.lock.startswith(b"{ \n")
    assert host.history.all()[0].result is Result.FAILED


def test_two_at_once(host: Host) -> None:
    def second(step: str) -> None:
        if step == "build":
            host.driver.system.on = lambda step: None
            with pytest.raises(Conflict, match="runs already"):
                host.run()

    host.driver.system.on = second
    host.run()
    assert host.driver.system.current == 2


def test_read_only_flake(host: Host) -> None:
    host.flake.writable = False
    with pytest.raises(Forbidden):
        host.run()
    assert host.driver.system.builds == []


def test_no_network(host: Host) -> None:
    host.driver.flakes.unreachable.add(A)
    with pytest.raises(HostUnavailable):
        host.run()
    assert host.history.all()[0].result is Result.FAILED


@pytest.mark.parametrize("phase", [Phase.SWITCHING, Phase.COMMITTING, Phase.DONE])
def test_full_disk_under_the_journal(host: Host, monkeypatch: pytest.MonkeyPatch, phase: Phase) -> None:
    """What can't be written down is not done; what was done is settled as soon as there is room."""
    save = host.history.save

    def full(update: Update) -> None:
        if update.phase is phase or full_since:
            full_since.append(update.id)
            raise HostUnavailable("no room")
        save(update)

    full_since: list[str] = []
    monkeypatch.setattr(host.history, "save", full)
    with pytest.raises(HostUnavailable, match="no room"):
        host.run()
    monkeypatch.undo()
    assert host.cycle.recover()
    row = host.history.all()[0]
    if phase is Phase.SWITCHING:
        assert (row.result, host.locked("a"), host.driver.system.current) == (Result.ABORTED, revision(1), 1)
    else:
        assert (row.result, host.locked("a"), host.driver.system.current) == (
            Result.SUCCEEDED,
            revision(2),
            2,
        )
    assert host.flake.lock == host.flake.committed


# What kill -9 leaves.


def killed_at(host: Host, step: str) -> Update:
    """The update that was running when the process died at a step of the system service's."""

    def die(at: str) -> None:
        if at == step:
            raise Killed

    host.driver.system.on = die
    # What handles errors does not run when a process is killed.
    host.cycle._failed = lambda update, error: None  # type: ignore[method-assign]
    with pytest.raises(Killed):
        host.run()
    host.driver.system.on = lambda step: None
    host.restart()
    return host.history.open()[0]


@pytest.mark.parametrize("step", ["build", "impact", "generation"])
def test_killed_before_the_lock_file(host: Host, step: str) -> None:
    killed = killed_at(host, step)
    assert host.cycle.recover()
    assert host.history.get(killed.id).result is Result.ABORTED
    assert host.locked("a") == revision(1)


def test_killed_before_the_switch_began(host: Host) -> None:
    before = host.flake.lock
    killed = killed_at(host, "switch")
    assert killed.phase is Phase.SWITCHING
    assert host.locked("a") == revision(2)
    assert host.cycle.recover()
    assert host.history.get(killed.id).result is Result.ABORTED
    assert host.flake.lock == before


def test_killed_after_the_verdict(host: Host) -> None:
    killed = killed_at(host, "switched")
    assert len(host.flake.commits) == 1
    assert host.cycle.recover()
    done = host.history.get(killed.id)
    assert (done.result, done.new_generation) == (Result.SUCCEEDED, 2)
    assert host.locked("a") == revision(2)
    assert host.flake.lock == host.flake.committed
    assert len(host.flake.commits) == 2


def test_killed_after_a_bad_verdict(host: Host) -> None:
    host.driver.system.verdict = Switched(Outcome.ROLLED_BACK, 1, "probe web failed")
    killed = killed_at(host, "switched")
    assert host.cycle.recover()
    assert host.history.get(killed.id).result is Result.ROLLED_BACK
    assert host.locked("a") == revision(1)


def test_killed_while_the_window_is_open(host: Host) -> None:
    killed = killed_at(host, "switch")
    assert killed.impact is not None
    host.driver.system.switches.append((killed.impact.toplevel, Switched(Outcome.OPEN)))
    assert not host.cycle.recover()
    assert host.history.get(killed.id).result is Result.RUNNING
    host.driver.system.switches[-1] = (killed.impact.toplevel, Switched(Outcome.CONFIRMED, 2))
    assert host.cycle.recover()
    assert host.history.get(killed.id).result is Result.SUCCEEDED
    assert host.locked("a") == revision(2)


def test_recovery_waits_for_the_system_service(host: Host) -> None:
    killed = killed_at(host, "switched")
    host.driver.system.reachable = False
    assert not host.cycle.recover()
    host.driver.system.reachable = True
    assert host.cycle.recover()
    assert host.history.get(killed.id).result is Result.SUCCEEDED


@pytest.mark.parametrize("phase", [Phase.INSTALLING, Phase.RESTORING])
@pytest.mark.parametrize("installed", [False, True])
def test_killed_around_the_lock_file(host: Host, phase: Phase, installed: bool) -> None:
    before = host.flake.lock
    done = host.cycle.run(host.order(Mode.LOCK), host.report, host.cancel)
    after = host.flake.lock
    from dataclasses import replace

    host.history.save(replace(done, phase=phase, result=Result.RUNNING, end=None))
    host.flake.lock = after if installed else before
    host.restart()
    assert host.cycle.recover()
    assert host.history.get(done.id).result is Result.ABORTED
    assert host.flake.lock == before


def test_lost_connection_in_the_switch(host: Host) -> None:
    """The call breaks off, and the system service knows how it ended."""

    def lose(step: str) -> None:
        if step == "switched":
            raise HostUnavailable("connection lost")

    host.driver.system.on = lose
    done = host.cycle.run(host.order(), host.report, host.cancel)
    assert (done.result, host.locked("a")) == (Result.SUCCEEDED, revision(2))


def test_system_service_that_goes_away_in_the_switch(host: Host) -> None:
    def lose(step: str) -> None:
        if step == "switched":
            host.driver.system.reachable = False
            raise HostUnavailable("connection lost")

    host.driver.system.on = lose
    with pytest.raises(HostUnavailable, match="not decided yet"):
        host.run()
    row = host.history.all()[0]
    assert (row.result, row.phase) == (Result.RUNNING, Phase.SWITCHING)
    host.driver.system.reachable = True
    host.driver.system.on = lambda step: None
    assert host.cycle.recover()
    assert host.history.get(row.id).result is Result.SUCCEEDED


# Taking back.


def test_taken_back(host: Host) -> None:
    before = host.flake.lock
    done = host.cycle.run(host.order(), host.report, host.cancel)
    past = host.cycle.take_back("latest", "alice", False, host.report, host.cancel)
    assert (past.id, past.result) == (done.id, Result.TAKEN_BACK)
    assert host.driver.system.current == 1
    assert host.flake.lock == before == host.flake.committed
    row = host.history.all()[0]
    assert (row.takes_back, row.requested_by, row.result) == (done.id, "alice", Result.SUCCEEDED)
    assert row.message in past.message or row.id in past.message
    with pytest.raises(NotFound, match="no update to take back"):
        host.cycle.take_back("latest", "", False, host.report, host.cancel) and host.cycle.take_back(
            "latest", "", False, host.report, host.cancel
        )
    with pytest.raises(WrongState):
        host.cycle.take_back(done.id, "", False, host.report, host.cancel)


def test_only_the_lock_file_taken_back(host: Host) -> None:
    done = host.cycle.run(host.order(), host.report, host.cancel)
    host.cycle.take_back(done.id, "", True, host.report, host.cancel)
    assert (host.driver.system.current, host.locked("a")) == (2, revision(1))


def test_an_older_update_is_not_taken_back_over_a_newer(host: Host) -> None:
    first = host.cycle.run(host.order(), host.report, host.cancel)
    host.driver.flakes.sources[B].append(revision(12))
    host.run()
    with pytest.raises(Conflict):
        host.cycle.take_back(first.id, "", False, host.report, host.cancel)
    assert host.driver.system.current == 3


@pytest.mark.parametrize(
    ("step", "result"), [("roll_back", Result.ABORTED), ("rolled_back", Result.SUCCEEDED)]
)
def test_killed_while_taking_back(host: Host, step: str, result: Result) -> None:
    done = host.cycle.run(host.order(), host.report, host.cancel)

    def die(at: str) -> None:
        if at == step:
            raise Killed

    host.driver.system.on = die
    host.cycle._failed = lambda update, error: None  # type: ignore[method-assign]
    with pytest.raises(Killed):
        host.cycle.take_back(done.id, "", False, host.report, host.cancel)
    host.driver.system.on = lambda step: None
    host.restart()
    assert host.cycle.recover()
    assert host.history.all()[0].result is result
    back = result is Result.SUCCEEDED
    assert (host.driver.system.current, host.locked("a")) == ((1, revision(1)) if back else (2, revision(2)))
    assert host.history.get(done.id).result is (Result.TAKEN_BACK if back else Result.SUCCEEDED)
    assert host.flake.lock == host.flake.committed


def test_generation_that_is_gone(host: Host) -> None:
    done = host.cycle.run(host.order(), host.report, host.cancel)
    del host.driver.system.generations[1]
    with pytest.raises(NotFound):
        host.cycle.take_back(done.id, "", False, host.report, host.cancel)
    assert (host.driver.system.current, host.locked("a")) == (2, revision(2))
    assert host.history.get(done.id).result is Result.SUCCEEDED
