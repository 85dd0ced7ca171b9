"""Frequency policies of a recorded machine whose attributes can be written; the real ones where there are some."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import Forbidden, InvalidRequest
from services.hardware.drivers.linux_governor import FOLDER, LinuxGovernorDriver
from services.hardware.drivers.record import Record
from services.hardware.drivers.tree import Tree
from services.hardware.models.states import GovernorState


@pytest.fixture
def laptop(recorded: Callable[[str], Path]) -> Path:
    return recorded("laptop")


def _driver(root: Path) -> LinuxGovernorDriver:
    return LinuxGovernorDriver(Tree(root), Record(root / "state/governors.json"))


def _value(root: Path, policy: str, name: str) -> str:
    return (root / FOLDER[1:] / policy / name).read_text().strip()


def test_sets_all_policies_and_puts_back_what_each_had(laptop: Path) -> None:
    driver = _driver(laptop)
    assert driver.unsupported() == ""
    assert driver.read(["all", "policy2", "policy7"]) == {
        "all": GovernorState("all", "performance,powersave", 400000, 4700000),
        "policy2": GovernorState("policy2", "performance", 400000, 3400000),
        "policy7": None,
    }
    assert driver.set("all", "powersave", None, 2000000) == "powersave set for policy0, policy2"
    assert driver.read(["all"])["all"] == GovernorState("all", "powersave", 400000, 2000000)
    assert driver.set("all", "powersave", None, 2000000) == ""
    # Another run of the daemon still knows what was there before.
    driver = _driver(laptop)
    assert driver.release("all") is True
    assert driver.read(["all"])["all"] is None
    assert (_value(laptop, "policy0", "scaling_governor"), _value(laptop, "policy2", "scaling_governor")) == (
        "powersave",
        "performance",
    )
    assert _value(laptop, "policy0", "scaling_max_freq") == "4700000"
    assert _value(laptop, "policy2", "scaling_max_freq") == "3400000"
    driver.set("all", "performance", None, None)
    assert driver.read(["all"])["all"] is not None


def test_raises_the_upper_limit_before_the_lower_one(laptop: Path) -> None:
    driver = _driver(laptop)
    driver.set("policy2", "performance", None, 1000000)
    driver.set("policy2", "performance", 2000000, 3000000)
    assert driver.read(["policy2"])["policy2"] == GovernorState("policy2", "performance", 2000000, 3000000)


def test_refuses_what_is_not_there(laptop: Path) -> None:
    driver = _driver(laptop)
    with pytest.raises(InvalidRequest, match="no governor ondemand") as caught:
        driver.set("policy0", "ondemand", None, None)
    assert "powersave" in caught.value.next_step
    with pytest.raises(InvalidRequest, match="policy9"):
        driver.set("policy9", "powersave", None, None)
    # Nothing was touched.
    assert _value(laptop, "policy0", "scaling_governor") == "powersave"


def test_what_may_not_be_written_is_told(laptop: Path) -> None:
    (laptop / FOLDER[1:] / "policy0/scaling_governor").chmod(0o444)
    with pytest.raises(Forbidden):
        _driver(laptop).set("policy0", "performance", None, None)


def test_a_machine_without_frequency_scaling(tmp_path: Path) -> None:
    driver = _driver(tmp_path)
    assert "scales no processor" in driver.unsupported()
    assert driver.read(["all"]) == {"all": None}


@pytest.mark.host
def test_this_machine(tmp_path: Path) -> None:
    """Sets what is set already, so that nothing changes; or says why it can't."""
    driver = LinuxGovernorDriver(Tree(), Record(tmp_path / "governors.json"))
    state = driver.read(["policy0"])["policy0"]
    if driver.unsupported():
        assert state is None
        assert not list(Path(FOLDER).glob("policy*"))
    else:
        assert isinstance(state, GovernorState)
        assert driver.set("policy0", state.governor, None, None) == ""
