"""A service with one kind, Widget, whose host is a dictionary: the loop's tests break it in every way.

Its proto is made here, so that no test kind is in the product's API.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from common.errors import ControlError, Violation
from common.manager import (
    Action,
    Applied,
    Change,
    Context,
    Detected,
    Detection,
    Emit,
    Outlook,
    Report,
    Service,
)
from nixcc.resource.v1 import options_pb2

Field = descriptor_pb2.FieldDescriptorProto


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="nixcc/widgets/v1/widgets.proto", package="nixcc.widgets.v1", syntax="proto3"
    )
    file.dependency.append("nixcc/resource/v1/options.proto")
    widget = file.message_type.add(name="Widget")
    kind = widget.options.Extensions[options_pb2.kind]
    kind.plural, kind.permanence = "widgets", options_pb2.PERMANENCE_LIVE
    kind.short_names.append("wi")
    kind.columns.append("size")

    def field(name: str, number: int, type_: Any, *, repeated: bool = False) -> Any:
        row = widget.field.add(name=name, number=number, type=type_)
        row.label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
        if not repeated:
            row.proto3_optional = True
            row.oneof_index = len(widget.oneof_decl)
            widget.oneof_decl.add(name=f"_{name}")
        return row.options.Extensions[options_pb2.rules]

    field("size", 1, Field.TYPE_INT64).maximum = 1_000_000
    field("colour", 2, Field.TYPE_STRING).default_json = '"grey"'
    field("tags", 3, Field.TYPE_STRING, repeated=True).list = options_pb2.LIST_RULE_SET
    field("needs", 4, Field.TYPE_STRING, repeated=True).reference = "Widget"
    field("shape", 5, Field.TYPE_STRING).replace = True
    field("secret", 6, Field.TYPE_STRING).sensitive = True
    return file


descriptor_pool.Default().Add(_file())
Widget: Any = message_factory.GetMessageClass(
    descriptor_pool.Default().FindMessageTypeByName("nixcc.widgets.v1.Widget")
)


class WidgetHost:
    """The host: what exists, what was called, and what shall go wrong."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.calls: list[tuple[Action, str]] = []
        self.detects: list[list[str]] = []
        self.running: set[str] = set()
        self.overlapped: list[str] = []
        # Called in Apply with the change; may raise or block.
        self.on_apply: Callable[[Change[Any]], None] = lambda change: None
        self.on_detect: Callable[[Sequence[str]], None] = lambda keys: None
        self.unhealthy: dict[str, str] = {}
        # How those go on, and after how many seconds they are to be looked at again.
        self.outlook: dict[str, tuple[Outlook, int]] = {}
        self.emit: Emit | None = None
        self.lock = threading.Lock()

    def poke(self, key: str, **fields: Any) -> None:
        """Changes an object behind the loop's back and hints."""
        spec = Widget()
        if key in self.objects:
            spec.CopyFrom(self.objects[key])
        for name, value in fields.items():
            setattr(spec, name, value)
        self.objects[key] = spec
        self.hint(key)

    def lose(self, key: str) -> None:
        """Removes an object behind the loop's back and hints."""
        self.objects.pop(key, None)
        self.hint(key)

    def hint(self, *keys: str) -> None:
        """Gives a hint, as the backend would."""
        if self.emit is not None:
            self.emit(keys)

    def applied(self, key: str) -> list[Action]:
        """What was done to one object."""
        return [action for action, other in self.calls if other == key]


class WidgetKind:
    """The kind's handler over a WidgetHost."""

    spec = Widget

    def __init__(self, host: WidgetHost) -> None:
        self.host = host

    def unsupported(self) -> str:
        return ""

    def validate(self, name: str, spec: Any) -> Sequence[Violation]:
        return [Violation("colour", "octarine is not for everybody")] if spec.colour == "octarine" else []

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[Any]]:
        self.host.detects.append(list(keys))
        self.host.on_detect(keys)
        found: dict[str, Detection[Any]] = {}
        for key in keys:
            spec = self.host.objects.get(key)
            outlook, again = self.host.outlook.get(key, (Outlook.UNSPECIFIED, 0))
            unhealthy = self.host.unhealthy.get(key, "")
            found[key] = (
                None
                if spec is None
                else Detected(spec, unhealthy=unhealthy, outlook=outlook, look_again=again)
            )
        return found

    def apply(self, change: Change[Any], report: Report) -> Applied:
        host = self.host
        with host.lock:
            if change.key in host.running:
                host.overlapped.append(change.key)
            host.running.add(change.key)
            host.calls.append((change.action, change.key))
        try:
            host.on_apply(change)
            report("working", 50)
            if change.action is Action.DELETE:
                host.objects.pop(change.key, None)
                return Applied("deleted")
            spec = Widget()
            spec.CopyFrom(change.desired)
            host.objects[change.key] = spec
            return Applied(f"{change.action.lower()}d")
        finally:
            with host.lock:
                host.running.discard(change.key)

    def enumerate(self) -> Sequence[str]:
        return list(self.host.objects)

    def watch(self, emit: Emit) -> None:
        self.host.emit = emit

    def hold(self, keys: Sequence[str]) -> None:
        pass

    def drop(self, keys: Sequence[str]) -> None:
        pass

    def close(self) -> None:
        self.host.emit = None


def factory(host: WidgetHost) -> Callable[[Context], Service]:
    """A service factory over the host."""

    def create(context: Context) -> Service:
        return Service(
            name="widgets",
            kinds=[WidgetKind(host)],
            driver="memory",
            register=lambda server: None,
            rpc_services=[],
        )

    return create


__all__ = ["ControlError", "Widget", "WidgetHost", "WidgetKind", "factory"]
