"""Sets that come at the same time are admitted as if one came after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from common.errors import InvalidRequest, from_rpc_error
from nixcc.state.v1 import state_pb2
from nixcc.system.v1 import file_pb2
from plane import Plane, plane, resource
from services.system import create
from widgets import Widget, WidgetHost, factory

ROUNDS = 15


@pytest.fixture
async def cp(tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane(tmp_path, {"widgets": factory(WidgetHost()), "system": create}) as started:
        yield started


async def refused(found: list[Any]) -> list[InvalidRequest]:
    errors = [from_rpc_error(each) for each in found if isinstance(each, grpc.aio.AioRpcError)]
    assert all(isinstance(error, InvalidRequest) for error in errors), errors
    return errors  # type: ignore[return-value]


async def test_two_names_never_own_one_object(cp: Plane) -> None:
    for round_ in range(ROUNDS):
        spec = file_pb2.File(path=f"/etc/f{round_}", content="a\n")
        found = await asyncio.gather(
            *(cp.apply(resource(spec, f"{name}{round_}")) for name in "abc"), return_exceptions=True
        )

        errors = await refused(list(found))

        assert len(errors) == 2
        assert all("belongs to File" in error.violations[0].description for error in errors)
    listed = (await cp.state.List(state_pb2.ListRequest(kind="File"))).resources
    keys = [one.metadata.key for one in listed]
    assert len(keys) == len(set(keys)) == ROUNDS


async def test_no_circle_closes_between_two_sets(cp: Plane) -> None:
    for round_ in range(ROUNDS):
        a, b = f"a{round_}", f"b{round_}"
        found = await asyncio.gather(
            cp.apply(resource(Widget(needs=[b]), a)),
            cp.apply(resource(Widget(needs=[a]), b)),
            return_exceptions=True,
        )

        errors = await refused(list(found))

        assert len(errors) == 1
        assert "in a circle" in errors[0].message


async def test_a_client_that_leaves_holds_no_claim(cp: Plane) -> None:
    for round_ in range(ROUNDS):
        spec = file_pb2.File(path=f"/etc/f{round_}", content="a\n")
        leaving = asyncio.ensure_future(cp.apply(resource(spec, f"left{round_}")))
        await asyncio.sleep(0.0005 * round_)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        other = file_pb2.File(path=f"/etc/g{round_}", content="a\n")
        await cp.apply(resource(other, f"other{round_}"))
        stored = (await cp.state.List(state_pb2.ListRequest(kind="File"))).resources
        if f"left{round_}" not in {one.metadata.name for one in stored}:
            await cp.apply(resource(spec, f"again{round_}"))
    listed = (await cp.state.List(state_pb2.ListRequest(kind="File"))).resources
    assert len(listed) == len({one.metadata.key for one in listed}) == 2 * ROUNDS
