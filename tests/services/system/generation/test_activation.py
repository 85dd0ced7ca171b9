"""What dry-activate says, as Perl's switch-to-configuration and its successor in Rust say it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.system.generation import activation
from services.system.generation.models import UnitChanges

_RECORDED = """\
would stop the following units: accounts-daemon.service, nscd.service
would NOT stop the following changed units: getty@tty1.service
would activate the configuration...
would reload the following units: dbus.service,  firewall.service
would restart systemd
would restart the following units: nix-daemon.service
would start the following units: nscd.service, systemd-vconsole-setup.service
warning: something else, as programs say
"""


def test_every_list_is_read() -> None:
    assert activation.parse(_RECORDED) == UnitChanges(
        stop=("accounts-daemon.service", "nscd.service"),
        keep=("getty@tty1.service",),
        reload=("dbus.service", "firewall.service"),
        restart=("nix-daemon.service",),
        start=("nscd.service", "systemd-vconsole-setup.service"),
        systemd=True,
    )


def test_nothing_is_nothing() -> None:
    assert activation.parse("") == UnitChanges()
    assert activation.parse("would stop the following units: ") == UnitChanges()


@given(st.text())
def test_whatever_it_says_is_read(text: str) -> None:
    activation.parse(text)


_UNITS = st.lists(st.from_regex(r"[a-z0-9@:.\\-]{1,20}\.service", fullmatch=True), unique=True, max_size=5)


@given(stop=_UNITS, start=_UNITS)
def test_lists_come_back_as_they_were_said(stop: list[str], start: list[str]) -> None:
    said = f"would stop the following units: {', '.join(stop)}\nwould start the following units: {', '.join(start)}"

    found = activation.parse(said)

    assert (found.stop, found.start) == (tuple(stop), tuple(start))
