"""A service whose kinds last: settings and notes become part of a snapshot, as options become part of a generation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from common.errors import ControlError, InvalidRequest, Violation
from common.manager import Action, Applied, Change, Context, Detected, Detection, Report, Service
from nixcc.resource.v1 import options_pb2, resource_pb2

Field = descriptor_pb2.FieldDescriptorProto


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="nixcc/lasting/v1/lasting.proto", package="nixcc.lasting.v1", syntax="proto3"
    )
    file.dependency.extend(["nixcc/resource/v1/options.proto", "nixcc/resource/v1/resource.proto"])
    for name, permanence in (
        ("Setting", options_pb2.PERMANENCE_LASTING),
        ("Note", options_pb2.PERMANENCE_LIVE_UNTIL_GENERATION),
        ("Snapshot", options_pb2.PERMANENCE_LIVE),
    ):
        message = file.message_type.add(name=name)
        kind = message.options.Extensions[options_pb2.kind]
        kind.plural, kind.permanence = f"{name.lower()}s", permanence
        field = message.field.add(
            name="text", number=1, type=Field.TYPE_STRING, label=1, proto3_optional=True
        )
        field.oneof_index = 0
        message.oneof_decl.add(name="_text")
    field = message.field.add(name="content", number=2, type=Field.TYPE_MESSAGE, label=1)
    field.type_name = ".nixcc.resource.v1.Renderings"
    field.options.Extensions[options_pb2.rules].renderings = True
    return file


descriptor_pool.Default().Add(_file())


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(
        descriptor_pool.Default().FindMessageTypeByName(f"nixcc.lasting.v1.{name}")
    )


Setting, Note, Snapshot = map(_class, ("Setting", "Note", "Snapshot"))


class LastingHost:
    """What exists, and what was done to it."""

    def __init__(self) -> None:
        self.notes: dict[str, Any] = {}
        self.active: resource_pb2.Renderings | None = None
        self.error: ControlError | None = None
        self.taken: list[resource_pb2.Renderings] = []
        self.applied: list[tuple[str, Action, str]] = []

    def held(self) -> set[str]:
        """What the active snapshot contains."""
        return set() if self.active is None else {one.name for one in self.active.resources}


class _Kind:
    spec: Any

    def __init__(self, host: LastingHost) -> None:
        self.host = host

    def unsupported(self) -> str:
        return ""

    def validate(self, name: str, spec: Any) -> Sequence[Violation]:
        return ()

    def render(self, name: str, spec: Any) -> Mapping[str, Any]:
        if spec.text == "unspeakable":
            raise InvalidRequest("no option can say it", [Violation("text", "no option can say it")])
        return {"texts": {name: spec.text}}


class _SettingKind(_Kind):
    spec = Setting

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[Any]]:
        active = self.host.active
        texts = {} if active is None else {one.name: one.options_json for one in active.resources}
        return {
            key: Detected(Setting(text=texts[key].split('"')[-2])) if key in texts else None for key in keys
        }

    def apply(self, change: Change[Any], report: Report) -> Applied:
        raise AssertionError("only a snapshot makes settings so")


class _NoteKind(_Kind):
    spec = Note

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[Any]]:
        return {key: Detected(self.host.notes[key]) if key in self.host.notes else None for key in keys}

    def apply(self, change: Change[Any], report: Report) -> Applied:
        self.host.applied.append(("Note", change.action, change.key))
        if change.desired is None:
            self.host.notes.pop(change.key, None)
        else:
            self.host.notes[change.key] = change.desired
        return Applied("done")


class _SnapshotKind(_Kind):
    spec = Snapshot
    render = None  # type: ignore[assignment]

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[Any]]:
        if self.host.active is None:
            return dict.fromkeys(keys)
        return {key: Detected(Snapshot(text="x", content=self.host.active)) for key in keys}

    def apply(self, change: Change[Any], report: Report) -> Applied:
        assert change.desired is not None
        if self.host.error is not None:
            raise self.host.error
        self.host.active = change.desired.content
        self.host.taken.append(change.desired.content)
        return Applied("taken")


def factory(host: LastingHost) -> Callable[[Context], Service]:
    """A service factory over the host."""

    def create(context: Context) -> Service:
        return Service(
            name="lasting",
            kinds=[_SettingKind(host), _NoteKind(host), _SnapshotKind(host)],
            driver="memory",
            register=lambda server: None,
            rpc_services=[],
        )

    return create
