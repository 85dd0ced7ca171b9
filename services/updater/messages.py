"""Models as messages."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from nixcc.updater.v1 import update_policy_pb2
from nixcc.updater.v1 import updater_pb2 as pb
from services.updater.models import ChannelChange, Impact, InputChange, Plan, Update


def change_message(change: InputChange) -> pb.InputChange:
    """One input."""
    sort = pb.INPUT_CHANGE_TYPE_UPDATED
    if not change.before:
        sort = pb.INPUT_CHANGE_TYPE_ADDED
    elif not change.after:
        sort = pb.INPUT_CHANGE_TYPE_REMOVED
    return pb.InputChange(
        input=change.path,
        type=sort,
        to=change.after,
        old_revision=change.old_revision,
        new_revision=change.new_revision,
        old_time=_time(change.old_time),
        new_time=_time(change.new_time),
        **{"from": change.before},  # a keyword of Python's
    )


def impact_message(impact: Impact) -> pb.UpdateImpact:
    """What an update does to the host."""
    return pb.UpdateImpact(
        toplevel=impact.toplevel,
        packages=[
            pb.UpdatedPackage(
                name=package.name,
                old_version=package.old_version,
                new_version=package.new_version,
                size_change=package.size_change,
            )
            for package in impact.packages
        ],
        closure_size=impact.closure_size,
        closure_change=impact.closure_change,
        reboot_needed=impact.reboot_needed,
        reboot_reasons=impact.reboot_reasons,
        activation=impact.activation,
    )


def plan_message(plan: Plan) -> pb.UpdatePlan:
    """What an update would change."""
    return pb.UpdatePlan(
        flake=plan.flake,
        changes=map(change_message, plan.changes),
        kept=plan.kept,
        impact=None if plan.impact is None else impact_message(plan.impact),
    )


def update_message(update: Update) -> pb.Update:
    """One update."""
    return pb.Update(
        id=update.id,
        flake=update.flake,
        configuration=update.configuration,
        policy=update.policy,
        requested_by=update.requested_by,
        mode=update_policy_pb2.UpdateMode.Value(f"UPDATE_MODE_{update.mode.value}"),
        start_time=_time(update.start),
        end_time=_time(update.end),
        result=pb.UpdateResult.Value(f"UPDATE_RESULT_{update.result.value}"),
        message=update.message,
        changes=map(change_message, update.changes),
        impact=None if update.impact is None else impact_message(update.impact),
        commit=update.commit,
        old_generation=update.old_generation,
        new_generation=update.new_generation,
        warnings=update.warnings,
    )


def channels_message(found: Sequence[ChannelChange]) -> pb.FetchedChannels:
    """Channels that were fetched."""
    return pb.FetchedChannels(
        changes=[
            pb.ChannelChange(name=change.name, old_path=change.before, new_path=change.after)
            for change in found
        ]
    )


def _time(seconds: float | None) -> Timestamp | None:
    if seconds is None:
        return None
    made = Timestamp()
    made.FromNanoseconds(int(seconds * 1e9))
    return made
