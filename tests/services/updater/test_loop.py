"""The service under the real control loop, with real Nix and git: declared, drifted, healed, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from nixcc.updater.v1.channel_pb2 import Channel
from nixcc.updater.v1.flake_input_pb2 import FlakeInput
from nixcc.updater.v1.update_policy_pb2 import UpdatePolicy
from plane import Plane, condition, eventually, plane, resource
from services.updater import create
from updater_flakes import Source, git, nix_environment, write_flake

pytestmark = pytest.mark.host


class Host:
    """The control plane, and a flake in its root whose input a has two revisions and is locked to the newer."""

    def __init__(self, started: Plane, folder: Path) -> None:
        self.plane = started
        self.source = Source(folder / "a")
        self.flake = started.settings.root / "etc/nixos"
        write_flake(self.flake, {"a": self.source.url})

    async def declare(self, **fields: object) -> None:
        spec = FlakeInput(input="/etc/nixos#a", **fields)  # type: ignore[arg-type]
        await self.plane.apply(resource(spec, "a"))

    async def locked_now(self, *command: str) -> None:
        """As the owner does it by hand, with a commit."""
        argv = ["nix", *(command or ("flake", "lock")), str(self.flake)]
        process = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.DEVNULL)
        assert await process.wait() == 0
        git(self.flake, "add", "flake.lock")
        git(self.flake, "commit", "-q", "-m", "by hand", "--", "flake.lock")

    def locked(self) -> str:
        return (self.flake / "flake.lock").read_text()


@pytest.fixture
async def host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[..., None]
) -> AsyncIterator[Host]:
    require(binary="nix")
    require(binary="git")
    for name, value in nix_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    async with plane(tmp_path, {"updater": create}) as started:
        yield Host(started, tmp_path)


async def test_pin_is_made_healed_and_lifted(host: Host) -> None:
    first = host.source.revisions[0]
    await host.declare()
    unlocked = await host.plane.until("FlakeInput", "a", lambda r: bool(condition(r, "Ready").message))
    assert "not in the lock file yet" in condition(unlocked, "Ready").message
    git(host.flake, "config", "user.email", "owner@example.org")
    await host.declare(pin=first)
    stuck = await host.plane.until(
        "FlakeInput", "a", lambda r: "no input a yet" in condition(r, "Ready").message
    )
    assert "lock it first" in condition(stuck, "Ready").message
    await host.locked_now()
    await host.plane.until_ready("FlakeInput", "a", 20)
    second = host.source.advance()
    await host.locked_now("flake", "update")
    assert second in host.locked()
    await eventually(lambda: first in host.locked(), 20)
    await host.plane.until_ready("FlakeInput", "a", 20)
    ours = "NixOS Control Center flake.lock: update a"
    await eventually(lambda: git(host.flake, "log", "-1", "--format=%an %s") == ours)
    await host.plane.delete("FlakeInput", "a")
    await host.plane.until_gone("FlakeInput", "a", 20)
    assert first in host.locked()


async def test_other_address_in_flake_nix_is_told_and_noticed_once_corrected(host: Host) -> None:
    other = Source(host.plane.settings.root.parent / "other")
    await host.declare(url=other.url)
    stuck = await host.plane.until(
        "FlakeInput", "a", lambda r: condition(r, "Stalled").reason == "WrongState", 20
    )
    message = condition(stuck, "Stalled").message or condition(stuck, "Ready").message
    assert "line 2" in message
    assert f'inputs.a.url = "{other.url}";' in message
    before = (host.flake / "flake.nix").read_text()
    (host.flake / "flake.nix").write_text(before.replace(host.source.url, other.url))
    await host.plane.until("FlakeInput", "a", lambda r: "line 2" not in condition(r, "Ready").message, 20)


async def test_undeclared_inputs_can_be_adopted(host: Host) -> None:
    from nixcc.state.v1 import state_pb2

    async def listed() -> bool:
        response = await host.plane.state.List(state_pb2.ListRequest(kind="FlakeInput", undeclared=True))
        return [r.metadata.key for r in response.resources] == ["/etc/nixos#a"]

    await eventually(listed)


async def test_policy_lives_and_dies(host: Host) -> None:
    await host.plane.apply(resource(UpdatePolicy(flake="/etc/nixos", schedule="0 4 * * *"), "nightly"))
    made = await host.plane.until_ready("UpdatePolicy", "nightly")
    seen = UpdatePolicy()
    assert made.status.detected.Unpack(seen)
    assert seen.next_run
    await host.plane.delete("UpdatePolicy", "nightly")
    await host.plane.until_gone("UpdatePolicy", "nightly")


async def test_channel_that_cannot_be_fetched_is_told(host: Host, tmp_path: Path) -> None:
    await host.plane.apply(resource(Channel(url=f"file://{tmp_path}/nowhere"), "mine"))
    failed = await host.plane.until("Channel", "mine", lambda r: bool(condition(r, "Ready").message), 20)
    assert condition(failed, "Ready").reason != "InSync"
    await host.plane.delete("Channel", "mine")
    await host.plane.until_gone("Channel", "mine", 20)
