from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2

from common import errors
from nixcc.resource.v1 import resource_pb2
from nixcc.state.v1 import state_pb2 as pb
from plane import Plane, eventually, plane, resource
from widgets import Widget, WidgetHost, factory


@pytest.fixture
def host() -> WidgetHost:
    return WidgetHost()


@pytest.fixture
async def cp(tmp_path: Path, host: WidgetHost) -> AsyncIterator[Plane]:
    async with plane(tmp_path, {"widgets": factory(host)}) as started:
        yield started


async def refused(call: Any) -> errors.ControlError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return errors.from_rpc_error(caught.value)


async def test_every_wrong_field_is_told_at_once_and_nothing_is_applied(cp: Plane) -> None:
    bad_policy = resource(Widget(size=1), "c", ignored_fields=["a..b"])
    unknown = resource_pb2.Resource(kind="Widgit")
    unknown.metadata.name = "d"
    error = await refused(
        cp.apply(
            resource(Widget(size=2_000_000), "a"),
            resource(Widget(colour="octarine"), "b b"),
            bad_policy,
            unknown,
            resource(Widget(size=5), "fine"),
        )
    )

    assert isinstance(error, errors.InvalidRequest)
    fields = {violation.field for violation in error.violations}
    assert fields >= {
        "resources[0].spec.size",
        "resources[1].metadata.name",
        "resources[1].spec.colour",
        "resources[2].policy.ignored_fields[0]",
        "resources[3].kind",
    }
    assert any("Widget" in v.description for v in error.violations if v.field == "resources[3].kind")
    assert list((await cp.state.List(pb.ListRequest())).resources) == []


@pytest.mark.parametrize(
    "name", ["", "-rf", "../etc", "a/b", "a\x00b", "a\nb", "ä", "x" * 254, " a", "a b", ".hidden", "$(id)"]
)
async def test_names_that_no_resource_can_have(cp: Plane, name: str) -> None:
    error = await refused(cp.apply(resource(Widget(size=1), name)))

    assert isinstance(error, errors.InvalidRequest)
    assert [v.field for v in error.violations] == ["resources[0].metadata.name"]


async def test_the_same_name_twice_in_a_set_is_refused(cp: Plane) -> None:
    error = await refused(cp.apply(resource(Widget(size=1), "a"), resource(Widget(size=2), "a")))

    assert isinstance(error, errors.InvalidRequest)
    assert "first as resources[0]" in error.violations[0].description


async def test_a_circle_of_needs_is_refused_and_shown_whole(cp: Plane) -> None:
    await cp.apply(resource(Widget(needs=["b"]), "a"), resource(Widget(needs=["c"]), "b"))

    depends = [resource_pb2.ResourceReference(kind="widgets", name="a")]
    error = await refused(cp.apply(resource(Widget(), "c", depends_on=depends)))

    assert isinstance(error, errors.InvalidRequest)
    for name in ("Widget a", "Widget b", "Widget c"):
        assert name in error.message
    assert (await refused(cp.get("Widget", "c"))).reason == "NotFound"


async def test_a_spec_of_another_kind_is_refused(cp: Plane) -> None:
    wrong = resource_pb2.Resource(kind="Widget", spec=any_pb2.Any(type_url="type.googleapis.com/x.Y"))
    wrong.metadata.name = "a"

    error = await refused(cp.apply(wrong))

    assert isinstance(error, errors.InvalidRequest)
    assert error.violations[0].field == "resources[0].spec"


async def test_bytes_that_are_no_spec_are_refused(cp: Plane) -> None:
    wrong = resource(Widget(size=1), "a")
    wrong.spec.value = b"\xff\xff\xff\xff"

    error = await refused(cp.apply(wrong))

    assert isinstance(error, errors.InvalidRequest)


async def test_a_stale_etag_is_a_conflict_and_names_the_current_one(cp: Plane) -> None:
    first = (await cp.apply(resource(Widget(size=1), "a"))).resources[0].resource
    second = (await cp.apply(resource(Widget(size=2), "a"))).resources[0].resource
    assert first.metadata.etag != second.metadata.etag

    stale = resource(Widget(size=3), "a")
    stale.metadata.etag = first.metadata.etag
    error = await refused(cp.apply(stale))

    assert isinstance(error, errors.Conflict)
    assert second.metadata.etag in error.message
    current = resource(Widget(size=3), "a")
    current.metadata.etag = second.metadata.etag
    assert (await cp.apply(current)).resources[0].outcome == pb.APPLY_OUTCOME_CONFIGURED


async def test_status_writes_do_not_disturb_an_edit(cp: Plane, host: WidgetHost) -> None:
    applied = (await cp.apply(resource(Widget(size=1), "a"))).resources[0].resource
    ready = await cp.until_ready("Widget", "a")
    assert ready.metadata.revision > applied.metadata.revision, "a status was written since"

    edit = resource(Widget(size=2), "a")
    edit.metadata.etag = applied.metadata.etag

    assert (await cp.apply(edit)).resources[0].outcome == pb.APPLY_OUTCOME_CONFIGURED


async def test_generation_counts_changes_of_the_spec_only(cp: Plane) -> None:
    await cp.apply(resource(Widget(size=1), "a"))
    labelled = resource(Widget(size=1), "a")
    labelled.metadata.labels["app"] = "web"
    again = (await cp.apply(labelled)).resources[0]
    assert (again.outcome, again.resource.metadata.generation) == (pb.APPLY_OUTCOME_CONFIGURED, 1)

    same = (await cp.apply(labelled)).resources[0]
    assert same.outcome == pb.APPLY_OUTCOME_UNCHANGED

    other = (await cp.apply(resource(Widget(size=2), "a"))).resources[0]
    assert other.resource.metadata.generation == 2
    assert [(c.path, c.detected_json, c.desired_json) for c in other.spec_changes] == [("size", "1", "2")]


async def test_a_field_that_is_dropped_is_warned_about(cp: Plane) -> None:
    await cp.apply(resource(Widget(size=1), "a"))

    row = (await cp.apply(resource(Widget(), "a"))).resources[0]

    assert any("size is no longer declared" in warning for warning in row.warnings)


async def test_a_dry_run_changes_nothing_and_a_plan_tells_the_host_too(cp: Plane, host: WidgetHost) -> None:
    host.objects["b"] = Widget(size=7, colour="grey")
    revision = (await cp.state.List(pb.ListRequest())).revision

    response = await cp.apply(
        resource(Widget(size=1), "a"), resource(Widget(size=8), "b"), dry_run=True, plan=True
    )

    from nixcc.manager.v1 import manager_pb2

    assert [row.host_action for row in response.resources] == [
        manager_pb2.ACTION_CREATE,
        manager_pb2.ACTION_UPDATE,
    ]
    assert [(c.path, c.detected_json) for c in response.resources[1].host_changes] == [("size", "7")]
    assert (await cp.state.List(pb.ListRequest())).revision == revision
    assert host.calls == []


async def test_secrets_are_masked_in_changes(cp: Plane) -> None:
    await cp.apply(resource(Widget(secret="hunter2"), "a"))

    row = (await cp.apply(resource(Widget(secret="hunter3"), "a"))).resources[0]

    text = str(row.spec_changes)
    assert "secret" in text
    assert "hunter" not in text


async def test_a_set_is_one_revision(cp: Plane) -> None:
    response = await cp.apply(*(resource(Widget(size=n), f"w{n}") for n in range(10)))

    assert {row.resource.metadata.etag for row in response.resources} == {str(response.revision)}


async def test_pruning_deletes_what_left_the_set_and_only_that(cp: Plane, host: WidgetHost) -> None:
    await cp.apply(resource(Widget(size=1), "other"))
    await cp.apply(resource(Widget(size=1), "a"), resource(Widget(size=2), "b"), apply_set="site")
    await cp.until_ready("Widget", "b")

    response = await cp.apply(resource(Widget(size=1), "a"), apply_set="site", prune=True)

    assert [row.outcome for row in response.resources] == [
        pb.APPLY_OUTCOME_UNCHANGED,
        pb.APPLY_OUTCOME_PRUNED,
    ]
    await cp.until_gone("Widget", "b")
    assert sorted(host.objects) == ["a", "other"]


async def test_pruning_with_an_empty_set_is_refused(cp: Plane) -> None:
    await cp.apply(resource(Widget(size=1), "a"), apply_set="site")

    error = await refused(cp.apply(apply_set="site", prune=True))

    assert isinstance(error, errors.InvalidRequest)
    assert (await cp.get("Widget", "a")).metadata.name == "a"


async def test_lists_by_label_in_pages_at_one_revision(cp: Plane) -> None:
    rows = []
    for number in range(25):
        row = resource(Widget(size=number), f"w{number:02}")
        row.metadata.labels["parity"] = "even" if number % 2 == 0 else "odd"
        rows.append(row)
    await cp.apply(*rows)

    names: list[str] = []
    token, revision = "", 0
    while True:
        page = await cp.state.List(
            pb.ListRequest(kind="wi", label_selector="parity=even", page_size=5, page_token=token)
        )
        revision = revision or page.revision
        assert page.revision == revision
        names += [one.metadata.name for one in page.resources]
        token = page.next_page_token
        if not token:
            break
        await cp.apply(resource(Widget(size=1), f"late{len(names)}"))

    assert names == [f"w{number:02}" for number in range(0, 25, 2)]


async def test_a_list_shows_the_past(cp: Plane) -> None:
    first = (await cp.apply(resource(Widget(size=1), "a"))).revision
    await cp.apply(resource(Widget(size=2), "a"), resource(Widget(size=2), "b"))

    then = await cp.state.List(pb.ListRequest(revision=first))

    assert [one.metadata.name for one in then.resources] == ["a"]
    spec = Widget()
    then.resources[0].spec.Unpack(spec)
    assert spec.size == 1


async def test_a_revision_from_the_future_is_out_of_range(cp: Plane) -> None:
    error = await refused(cp.state.List(pb.ListRequest(revision=1_000_000)))

    assert isinstance(error, errors.OutOfRange)


async def test_a_page_token_of_another_list_is_refused(cp: Plane) -> None:
    await cp.apply(*(resource(Widget(size=n), f"w{n}") for n in range(5)))
    page = await cp.state.List(pb.ListRequest(kind="Widget", page_size=2))

    for request in (
        pb.ListRequest(page_token=page.next_page_token),
        pb.ListRequest(kind="Widget", page_token="garbage"),
    ):
        assert isinstance(await refused(cp.state.List(request)), errors.InvalidRequest)


async def test_a_watch_resumes_where_it_ended(cp: Plane) -> None:
    start = (await cp.apply(resource(Widget(size=1), "a"))).revision
    await cp.until_ready("Widget", "a")
    await cp.apply(resource(Widget(size=2), "b"))
    await cp.until_ready("Widget", "b")

    seen: list[tuple[str, int]] = []
    call = cp.state.Watch(pb.WatchRequest(kind="Widget", revision=start))
    async with asyncio.timeout(10):
        async for event in call:
            if event.type == pb.WATCH_EVENT_TYPE_BOOKMARK:
                break
            seen.append((event.resource.metadata.name, event.revision))
    call.cancel()

    assert [revision for _, revision in seen] == sorted({revision for _, revision in seen})
    assert all(revision > start for _, revision in seen)
    assert {name for name, _ in seen} == {"a", "b"}


async def test_what_nobody_declared_can_be_listed_and_adopted_without_a_change(
    cp: Plane, host: WidgetHost
) -> None:
    host.objects["wild"] = Widget(size=4, colour="pink")
    await cp.apply(resource(Widget(size=1), "tame"))
    await cp.until_ready("Widget", "tame")

    found = (await cp.state.List(pb.ListRequest(kind="Widget", undeclared=True))).resources
    assert [(one.metadata.name, one.metadata.uid) for one in found] == [("wild", "")]

    calls = len(host.calls)
    await cp.apply(found[0])
    await cp.until_ready("Widget", "wild")
    assert len(host.calls) == calls


async def test_deleting_what_is_not_there(cp: Plane) -> None:
    assert isinstance(await refused(cp.delete("Widget", "nobody")), errors.NotFound)
    response = await cp.delete("Widget", "nobody", allow_missing=True)
    assert list(response.resources) == []


async def test_deleting_with_a_stale_etag_is_a_conflict(cp: Plane) -> None:
    await cp.apply(resource(Widget(size=1), "a"))

    assert isinstance(await refused(cp.delete("Widget", "a", etag="999")), errors.Conflict)
    assert (await cp.get("Widget", "a")).metadata.name == "a"


async def test_what_is_being_deleted_can_not_be_applied(cp: Plane, host: WidgetHost) -> None:
    await cp.apply(resource(Widget(size=1), "a"))
    await cp.until_ready("Widget", "a")

    def fail(change: object) -> None:
        raise errors.ControlError("in use")

    host.on_apply = fail
    await cp.delete("Widget", "a")

    error = await refused(cp.apply(resource(Widget(size=2), "a")))
    assert isinstance(error, errors.WrongState)
    assert "being deleted" in error.message
    host.on_apply = lambda change: None
    await cp.until_gone("Widget", "a")


async def test_a_huge_message_is_refused_and_the_daemon_goes_on(cp: Plane) -> None:
    big = resource(Widget(size=1), "a")
    big.metadata.annotations["blob"] = "x" * (65 * 1024 * 1024)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await cp.apply(big)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await cp.apply(resource(Widget(size=1), "b"))
    await cp.until_ready("Widget", "b")


async def test_a_client_that_leaves_in_the_middle_harms_nobody(cp: Plane) -> None:
    for _ in range(20):
        call = cp.state.Apply(pb.ApplyRequest(resources=[resource(Widget(size=1), "a")]))
        await asyncio.sleep(0)
        call.cancel()
        watch = cp.state.Watch(pb.WatchRequest(send_initial=True))
        await asyncio.sleep(0)
        watch.cancel()

    await cp.apply(resource(Widget(size=2), "b"))
    await cp.until_ready("Widget", "b")


async def test_hundreds_of_violations_fit_into_the_answer(cp: Plane) -> None:
    error = await refused(cp.apply(*(resource(Widget(size=2_000_000), f"w{n}") for n in range(700))))

    assert isinstance(error, errors.InvalidRequest)
    assert "700 fields are wrong" in error.message
    assert 400 <= len(error.violations) <= 500


async def test_a_client_with_gRPCs_own_limits_gets_what_fits(cp: Plane) -> None:
    request = pb.ApplyRequest(resources=[resource(Widget(size=2_000_000), f"w{n}") for n in range(700)])
    async with grpc.aio.insecure_channel(f"unix:{cp.settings.socket}") as channel:
        from nixcc.state.v1 import state_pb2_grpc

        error = await refused(state_pb2_grpc.StateServiceStub(channel).Apply(request))

    assert isinstance(error, errors.InvalidRequest)
    assert error.violations


async def test_kinds_are_listed_with_what_is_needed_to_read_their_specs(cp: Plane) -> None:
    response = await cp.state.ListKinds(pb.ListKindsRequest(kinds=["wi"]))

    assert [kind.descriptor.kind for kind in response.kinds] == ["Widget"]
    assert (response.kinds[0].service, response.kinds[0].available) == ("widgets", True)
    names = [file.name for file in response.files.file]
    assert names.index("nixcc/resource/v1/options.proto") < names.index("nixcc/widgets/v1/widgets.proto")


async def test_applying_to_a_service_that_is_down_is_refused_deleting_and_suspending_are_not(
    tmp_path: Path, host: WidgetHost
) -> None:
    from nixcc.reconciler.v1 import reconciler_pb2

    async with plane(tmp_path, {"widgets": factory(host)}) as first:
        await first.apply(resource(Widget(size=1), "a"), resource(Widget(size=1), "b"))
        await first.until_ready("Widget", "b")
    async with plane(tmp_path, {}, elsewhere={"widgets": tmp_path / "nowhere.sock"}) as second:
        error = await refused(second.apply(resource(Widget(size=2), "a")))
        assert isinstance(error, errors.HostUnavailable)
        assert "widgets" in error.message

        selection = reconciler_pb2.Selection(kind="Widget", names=["a"])
        await second.loop.Suspend(reconciler_pb2.SuspendRequest(selection=selection))
        await second.delete("Widget", "b")

        async def marked() -> bool:
            return (await second.get("Widget", "b")).metadata.HasField("delete_time")

        await eventually(marked)
        await second.delete("Widget", "a", deletion=resource_pb2.DELETION_POLICY_ORPHAN)
        await second.until_gone("Widget", "a")
    assert sorted(host.objects) == ["a", "b"]


async def test_clients_that_leave_in_the_middle_cost_nobody_else_an_apply(cp: Plane) -> None:
    """What was committed for somebody who left is shown like everything else that is stored."""
    for round_ in range(20):
        wanted = [resource(Widget(size=1), f"w{round_}-{i}") for i in range(40)]
        leaving = asyncio.ensure_future(cp.apply(*wanted))
        # Each client leaves a little later into its call.
        await asyncio.sleep(0.0005 * round_)
        leaving.cancel()

        response = await cp.apply(*wanted)

        assert len(response.resources) == 40
    listed = await cp.state.List(pb.ListRequest(kind="Widget", page_size=10_000))
    assert len(listed.resources) == 800
    for one in listed.resources:
        assert (await cp.get("Widget", one.metadata.name)).metadata.etag == one.metadata.etag


async def test_a_daemon_that_ends_does_not_wait_for_those_who_watch(tmp_path: Path) -> None:
    from common.rpc import aio_channel
    from common.settings import ServeSettings
    from nixcc.reconciler.v1 import reconciler_pb2, reconciler_pb2_grpc
    from nixcc.state.v1 import state_pb2_grpc
    from reconciler.daemon import create

    async def end(call: Any) -> errors.ControlError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                seen.append(call)
        return errors.from_rpc_error(caught.value)

    seen: list[Any] = []
    loop = asyncio.get_running_loop()
    settings = ServeSettings(state_dir=tmp_path / "state", socket=tmp_path / "s.sock", root=tmp_path)
    async with aio_channel(settings.socket) as channel:
        async with create(settings, []):
            state: Any = state_pb2_grpc.StateServiceStub(channel)
            reconciler: Any = reconciler_pb2_grpc.ReconcilerServiceStub(channel)
            watch = state.Watch(pb.WatchRequest(send_initial=True))
            events = reconciler.Events(reconciler_pb2.EventsRequest(follow=True))
            ends = [asyncio.create_task(end(call)) for call in (watch, events)]
            await eventually(lambda: seen == [watch])
            await asyncio.sleep(0.05)
            start = loop.time()
        assert loop.time() - start < 4
        for error in await asyncio.gather(*ends):
            assert isinstance(error, errors.HostUnavailable)
            assert "the daemon ends" in error.message
