"""The guard as a process, with real profiles in a real store: however it is disturbed, the host ends on one side."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons import until
from script_systems import ScriptHost
from services.system.drivers import guard_journal as journal
from services.system.generation.models import Mode, State, Window

pytestmark = pytest.mark.host


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Any) -> Iterator[ScriptHost]:
    require(binary="nix-env")
    made = ScriptHost(tmp_path)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    if guard := made.guard():
        os.kill(guard, signal.SIGKILL)


def ended(host: ScriptHost, seconds: float = 20) -> Window:
    def look() -> Window | None:
        window = host.windows.last()
        return window if window and window.state.ended and not journal.guarded(str(host.state)) else None

    return until(look, seconds)


def reaches(host: ScriptHost, state: State) -> Window:
    def look() -> Window | None:
        window = host.windows.last()
        return window if window and window.state is state else None

    return until(look)


def untouched(host: ScriptHost, old: str, *, number: int = 1) -> None:
    """The old system runs, is the profile's, and starts with the host."""
    assert host.running == old
    assert host.boot_default == old
    assert host.driver.default() == old
    assert host.driver.number() == number


def test_a_confirmed_switch_is_tried_first_and_then_made_the_default(host: ScriptHost) -> None:
    old, new = host.install(host.system("a")), host.system("b")

    window = host.open(new)
    window = reaches(host, State.WAITING)
    assert (host.running, host.boot_default, host.driver.default()) == (new, old, old)
    assert window.guarded
    assert host.windows.decide(window, commit=True, reason="fine") == (True, "fine")

    window = ended(host)
    assert (window.state, window.exit_code) == (State.CONFIRMED, 0)
    assert (host.running, host.boot_default, host.driver.default()) == (new, new, new)
    assert host.actions == ["test b", "boot b"]
    assert host.driver.numbers() == [1, 2]


def test_the_deadline_alone_undoes_it(host: ScriptHost) -> None:
    old, new = host.install(host.system("a")), host.system("b")

    host.open(new, deadline=1.5)
    reaches(host, State.WAITING)

    assert ended(host).state is State.ROLLED_BACK
    untouched(host, old)
    assert host.actions == ["test b", "test a"]
    window = host.windows.last()
    assert window is not None
    assert "before the deadline" in window.reason
    assert host.windows.decide(window, commit=True, reason="late")[0] is False
    untouched(host, old)


def test_a_rejected_switch_is_undone_at_once(host: ScriptHost) -> None:
    old, new = host.install(host.system("a")), host.system("b")
    host.open(new)
    window = reaches(host, State.WAITING)

    assert host.windows.decide(window, commit=False, reason="no") == (False, "no")
    assert host.windows.decide(window, commit=True, reason="yes after all") == (False, "no")

    assert ended(host).reason == "no"
    untouched(host, old)


@pytest.mark.parametrize("code", [1, 2, 3, 100])
def test_a_failed_activation_is_undone(host: ScriptHost, code: int) -> None:
    old, new = host.install(host.system("a")), host.system("b", code=code)

    host.open(new)

    window = ended(host)
    assert (window.state, window.exit_code) == (State.ROLLED_BACK, code)
    assert f"exit code {code}" in window.reason
    untouched(host, old)


def test_failed_units_leave_the_verdict_to_the_probes(host: ScriptHost) -> None:
    host.install(host.system("a"))
    new = host.system("b", code=4)
    host.open(new)

    window = reaches(host, State.WAITING)
    assert window.exit_code == 4
    host.windows.decide(window, commit=True, reason="they had failed before")

    assert ended(host).state is State.CONFIRMED
    assert host.boot_default == new


def test_an_activation_that_hangs_is_ended_at_the_deadline(host: ScriptHost) -> None:
    old, new = host.install(host.system("a")), host.system("b", sleep=60)

    host.open(new, deadline=1)

    window = ended(host)
    assert window.state is State.ROLLED_BACK
    assert "still running at the deadline" in window.reason
    untouched(host, old)


def test_a_boot_entry_that_fails_undoes_all_of_it(host: ScriptHost) -> None:
    old, new = host.install(host.system("a")), host.system("b", boot=1)
    host.open(new)
    host.windows.decide(reaches(host, State.WAITING), commit=True, reason="fine")

    window = ended(host)

    assert window.state is State.ROLLED_BACK
    assert "boot entry" in window.reason
    untouched(host, old)
    assert host.driver.numbers() == [1], "the generation that failed is gone"


def test_boot_changes_nothing_now(host: ScriptHost) -> None:
    old, new = host.install(host.system("a")), host.system("b")

    host.open(new, mode=Mode.BOOT)

    assert ended(host).state is State.CONFIRMED
    assert (host.running, host.boot_default, host.driver.default()) == (old, new, new)
    assert host.actions == ["boot b"]


def test_a_boot_that_fails_leaves_everything_as_it_was(host: ScriptHost) -> None:
    old, new = host.install(host.system("a")), host.system("b", boot=1)

    host.open(new, mode=Mode.BOOT)

    assert ended(host).state is State.ROLLED_BACK
    untouched(host, old)


def test_the_first_boot_ever_that_fails_leaves_no_profile(host: ScriptHost) -> None:
    host.open(host.system("b", boot=1), mode=Mode.BOOT)

    assert ended(host).state is State.ROLLED_BACK
    assert host.driver.default() == ""
    assert host.driver.numbers() == []


def test_test_stays_until_the_next_restart_only(host: ScriptHost) -> None:
    old, new = host.install(host.system("a")), host.system("b")
    host.open(new, mode=Mode.TEST)
    host.windows.decide(reaches(host, State.WAITING), commit=True, reason="fine")

    assert ended(host).state is State.CONFIRMED
    assert (host.running, host.boot_default, host.driver.default()) == (new, old, old)


def test_a_restart_in_the_window_is_recorded_and_runs_nothing(host: ScriptHost) -> None:
    old, new = host.install(host.system("a")), host.system("b")
    window = host.open(new)
    reaches(host, State.WAITING)
    os.kill(host.guard(), signal.SIGKILL)
    until(lambda: not host.guard())
    link = host.root / "run/current-system"
    link.unlink()
    link.symlink_to(old)
    _edit(host, boot_id="another-boot")
    before = host.actions

    host.windows.start_guard(window.id)

    window = ended(host)
    assert window.state is State.ROLLED_BACK
    assert "restarted" in window.reason
    assert host.actions == before
    untouched(host, old)


def test_a_restart_after_the_confirmation_completes_it(host: ScriptHost) -> None:
    old, new = host.install(host.system("a")), host.system("b")
    os.environ["NCC_FAILPOINTS"] = "guard.committing=kill"
    try:
        window = host.open(new)
        host.windows.decide(reaches(host, State.WAITING), commit=True, reason="fine")
        until(lambda: not host.guard())
    finally:
        del os.environ["NCC_FAILPOINTS"]
    link = host.root / "run/current-system"
    link.unlink()
    link.symlink_to(old)
    _edit(host, boot_id="another-boot")

    host.windows.start_guard(window.id)

    assert ended(host).state is State.CONFIRMED
    assert (host.running, host.boot_default, host.driver.default()) == (old, new, new)


# Where a guard may be killed, and whether it had a recorded COMMIT by then.
_POINTS = {
    "guard.taken": False,
    "guard.testing": False,
    "guard.after_test": False,
    "guard.waiting": False,
    "guard.committing": True,
    "guard.after_profile": True,
    "guard.after_boot": True,
    "guard.confirmed": True,
}


@pytest.mark.parametrize("point", _POINTS)
def test_another_guard_finishes_what_a_killed_one_left(
    host: ScriptHost, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    old, new = host.install(host.system("a")), host.system("b")
    monkeypatch.setenv("NCC_FAILPOINTS", f"{point}=kill")
    with host.windows.preparing():
        pass
    try:
        window = host.open(new)
    except Exception:  # it died before it showed itself
        window = host.windows.last()  # type: ignore[assignment]
    if _POINTS[point]:
        host.windows.decide(reaches(host, State.WAITING), commit=True, reason="fine")
    until(lambda: not host.guard())
    monkeypatch.delenv("NCC_FAILPOINTS")

    host.windows.start_guard(window.id)

    window = ended(host)
    if _POINTS[point]:
        assert window.state is State.CONFIRMED
        assert (host.running, host.boot_default, host.driver.default()) == (new, new, new)
        assert host.driver.numbers() == [1, 2]
    else:
        assert window.state is State.ROLLED_BACK
        untouched(host, old)


@pytest.mark.parametrize("point", ["guard.after_verdict", "guard.reverting", "guard.after_revert"])
@pytest.mark.parametrize("broken", ["test", "boot"])
def test_another_guard_finishes_a_revert(
    host: ScriptHost, monkeypatch: pytest.MonkeyPatch, point: str, broken: str
) -> None:
    old = host.install(host.system("a"))
    new = host.system("b", **{"code" if broken == "test" else "boot": 1})
    monkeypatch.setenv("NCC_FAILPOINTS", f"{point}=kill")
    window = host.open(new)
    if broken == "boot":
        host.windows.decide(reaches(host, State.WAITING), commit=True, reason="fine")
    until(lambda: not host.guard())
    monkeypatch.delenv("NCC_FAILPOINTS")

    host.windows.start_guard(window.id)

    assert ended(host).state is State.ROLLED_BACK
    untouched(host, old)


def test_an_orphaned_activation_is_awaited_before_going_back(host: ScriptHost) -> None:
    old, new = host.install(host.system("a")), host.system("b", sleep=1.5)
    window = host.open(new)
    until(lambda: host.actions == ["test b"])
    os.kill(host.guard(), signal.SIGKILL)
    until(lambda: not host.guard())

    host.windows.start_guard(window.id)

    assert ended(host).state is State.ROLLED_BACK
    untouched(host, old)
    assert host.actions == ["test b", "test a"]


def test_two_guards_never_work_at_once(host: ScriptHost) -> None:
    host.install(host.system("a"))
    window = host.open(host.system("b"))
    reaches(host, State.WAITING)
    first = host.guard()

    host.windows.start_guard(window.id)

    until(lambda: host.guard() == first, 10)
    assert host.actions == ["test b"]
    host.windows.decide(window, commit=False, reason="enough")
    ended(host)


def test_going_back_that_fails_says_what_remains(host: ScriptHost) -> None:
    old = host.install(host.system("a", code=2))
    host.open(host.system("b"))

    host.windows.decide(reaches(host, State.WAITING), commit=False, reason="no")

    window = ended(host)
    assert window.state is State.REVERT_FAILED
    assert "restart the host" in window.reason
    assert host.boot_default == old


def test_it_starts_in_no_time(host: ScriptHost) -> None:
    """The figure itself is for the benchmarks; here only that nothing heavy came in."""
    host.install(host.system("a"))
    host.open(host.system("b"))
    reaches(host, State.WAITING)
    maps = Path(f"/proc/{host.guard()}/maps").read_text()

    assert "grpc" not in maps
    assert "upb" not in maps
    host.windows.decide(host.windows.last(), commit=False, reason="enough")  # type: ignore[arg-type]
    ended(host)


def test_a_half_written_journal_is_refused(host: ScriptHost) -> None:
    (host.state / journal.ROW).write_text('{"version": 1, "phase": "WAIT')

    with pytest.raises(Exception, match="journal of switches can't be read"):
        host.windows.last()

    (host.state / journal.ROW).write_text(json.dumps({"version": 2}))
    with pytest.raises(Exception, match="version 2"):
        host.windows.last()


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_hundred_guards_killed_at_random_leave_the_old_system(host: ScriptHost) -> None:
    generator = random.Random(20261124)
    old = host.install(host.system("a"))
    systems = [host.system("b"), host.system("c", code=2), host.system("d", sleep=0.3)]
    for _ in range(100):
        window = host.open(generator.choice(systems), deadline=generator.uniform(0.5, 3))
        time.sleep(generator.uniform(0, 1))  # the moment is the test's subject
        if pid := host.guard():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not host.guard())
        host.windows.start_guard(window.id)
        assert ended(host).state is State.ROLLED_BACK
        untouched(host, old)


def _edit(host: ScriptHost, **changes: Any) -> None:
    row = journal.read_row(str(host.state))
    assert row is not None
    journal.write_row(str(host.state), {**row, **changes})
