"""The schema of a spec message, compiled once from its descriptor and the options in options.proto.

Works with descriptors of any pool: the reconciler builds message classes from the files that services
send, in a pool that may not know the options' extension. (Descriptors are typed Any here: the stubs know two
unrelated classes for them.)
"""

from __future__ import annotations

import enum
import json
import re
import threading
from typing import Any, Final

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from common import fieldpath
from nixcc.resource.v1 import options_pb2

_CACHED_TYPES = 4096  # beyond it the cache starts anew, so that pools of restarted services can go


class Shape(enum.Enum):
    """How many values a field holds."""

    ONE = "one"
    LIST = "list"
    MAP = "map"


class Value(enum.Enum):
    """Of what sort each value is (a map's values, a list's elements)."""

    STRING = "string"
    BYTES = "bytes"
    BOOL = "bool"
    INTEGER = "integer"
    FLOAT = "float"
    ENUM = "enum"
    MESSAGE = "message"


_VALUES: Final = {
    FieldDescriptor.CPPTYPE_BOOL: Value.BOOL,
    FieldDescriptor.CPPTYPE_INT32: Value.INTEGER,
    FieldDescriptor.CPPTYPE_INT64: Value.INTEGER,
    FieldDescriptor.CPPTYPE_UINT32: Value.INTEGER,
    FieldDescriptor.CPPTYPE_UINT64: Value.INTEGER,
    FieldDescriptor.CPPTYPE_FLOAT: Value.FLOAT,
    FieldDescriptor.CPPTYPE_DOUBLE: Value.FLOAT,
    FieldDescriptor.CPPTYPE_ENUM: Value.ENUM,
    FieldDescriptor.CPPTYPE_MESSAGE: Value.MESSAGE,
}
# Python's re understands more than RE2, and reads POSIX classes as something else.
_NOT_RE2: Final = re.compile(r"\(\?(?:[=!(>]|<[=!]|P=)|\\[1-9]|\[\[:|\\p[{LN]")


class FieldSpec:
    """One field with its rules. Read-only."""

    __slots__ = (
        "default",
        "descriptor",
        "element",
        "key",
        "message",
        "name",
        "number",
        "oneof",
        "pattern",
        "presence",
        "rules",
        "shape",
        "value",
    )

    def __init__(self, descriptor: Any) -> None:
        self.descriptor: Any = descriptor
        self.name: str = descriptor.name
        self.number: int = descriptor.number
        self.rules = _rules(descriptor)
        self.element: Any = descriptor  # of each value
        self.key: Any = None  # of a map
        self.shape = Shape.LIST if descriptor.is_repeated else Shape.ONE
        if _is_map(descriptor):
            self.shape = Shape.MAP
            self.key = descriptor.message_type.fields_by_name["key"]
            self.element = descriptor.message_type.fields_by_name["value"]
        if self.element.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            self.value = Value.BYTES if self.element.type == FieldDescriptor.TYPE_BYTES else Value.STRING
        else:
            self.value = _VALUES[self.element.cpp_type]
        self.presence: bool = descriptor.has_presence
        oneof = descriptor.containing_oneof
        synthetic = oneof is not None and len(oneof.fields) == 1 and oneof.name == f"_{descriptor.name}"
        self.oneof: str = oneof.name if oneof is not None and not synthetic else ""
        self.message: SpecType | None = None  # of each value; set when the type is compiled
        self.pattern = _pattern(self)
        self.default: Message | None = _default(self)

    @property
    def list_rule(self) -> options_pb2.ListRule.ValueType:
        """How a list is compared, never UNSPECIFIED."""
        return self.rules.list or options_pb2.LIST_RULE_ORDERED

    @property
    def unit(self) -> options_pb2.Unit.ValueType:
        """What an integer counts."""
        return self.rules.unit

    @property
    def default_json(self) -> Any:
        """The declared default as a JSON value; None where there is none."""
        return json.loads(self.rules.default_json) if self.rules.default_json else None

    @property
    def enum_names(self) -> tuple[str, ...]:
        """Names of an enum's values, in the order of the proto."""
        return tuple(value.name for value in self.element.enum_type.values)

    def __repr__(self) -> str:
        return f"FieldSpec({self.descriptor.full_name})"


class SpecType:
    """A message type with the rules of its fields. Read-only; get one with `SpecType.of`."""

    __slots__ = (
        "by_name",
        "by_number",
        "defaults",
        "descriptor",
        "fields",
        "full_name",
        "has_defaults",
        "has_references",
        "has_secrets",
        "has_write_only",
        "is_kind",
        "is_well_known",
        "kind",
        "name",
        "required",
    )

    def __init__(self, descriptor: Any) -> None:
        self.descriptor = descriptor
        self.name: str = descriptor.name
        self.full_name: str = descriptor.full_name
        self.is_well_known = self.full_name.startswith("google.protobuf.")
        options = descriptor_pb2.MessageOptions.FromString(descriptor.GetOptions().SerializeToString())
        self.is_kind = options.HasExtension(options_pb2.kind)
        self.kind = options_pb2.KindOptions()
        self.kind.CopyFrom(options.Extensions[options_pb2.kind])
        self.fields = tuple(FieldSpec(field) for field in descriptor.fields)
        self.by_name = {field.name: field for field in self.fields}
        self.by_number = {field.number: field for field in self.fields}
        self.required = tuple(field for field in self.fields if field.rules.required)
        self.defaults = tuple(field for field in self.fields if field.default is not None)
        # Whether the message or one below it has any; nested ones are added when compiled.
        self.has_defaults = bool(self.defaults)
        self.has_references = any(field.rules.reference for field in self.fields)
        self.has_secrets = any(field.rules.sensitive for field in self.fields)
        self.has_write_only = any(field.rules.write_only for field in self.fields)
        if self.is_kind and self.kind.identity_field:
            _check_identity(self, self.by_name.get(self.kind.identity_field))

    @classmethod
    def of(cls, descriptor: Any) -> SpecType:
        """The compiled schema, from a cache. ValueError where the options contradict the proto."""
        found = _types.get(descriptor)
        return found if found is not None else _compile(descriptor)

    def resolve(self, path: str) -> FieldSpec:
        """The field that a dotted path leads to, with elements in brackets or not. ValueError: none."""
        here: SpecType | None = self
        field: FieldSpec | None = None
        for step in fieldpath.parse(path):
            if field is not None and field.rules.json:
                return field  # what lies within it is no field
            if here is None:
                raise ValueError(f"{path!r}: {field.name if field else ''} has no fields of its own")
            field = here.by_name.get(step.name)
            if field is None:
                known = ", ".join(sorted(here.by_name)) or "none"
                raise ValueError(f"{path!r}: {here.name} has no field {step.name!r}; it has {known}")
            nested = step.every or step.element is not None
            if field.shape is Shape.ONE and nested and not field.rules.json:
                raise ValueError(f"{path!r}: {step.name} is neither a list nor a map")
            here = field.message
        assert field is not None  # a parsed path has a step
        return field

    def __repr__(self) -> str:
        return f"SpecType({self.full_name})"


_types: dict[Any, SpecType] = {}
_lock = threading.Lock()


def _compile(root: Any) -> SpecType:
    with _lock:
        if len(_types) > _CACHED_TYPES:
            _types.clear()
        fresh: dict[Any, SpecType] = {}
        waiting = [root]
        while waiting:
            descriptor = waiting.pop()
            if descriptor in fresh or descriptor in _types:
                continue
            compiled = fresh[descriptor] = SpecType(descriptor)
            waiting += [f.element.message_type for f in compiled.fields if f.value is Value.MESSAGE]
        for compiled in fresh.values():
            for field in compiled.fields:
                if field.value is Value.MESSAGE:
                    nested = field.element.message_type
                    field.message = fresh.get(nested) or _types[nested]
        _spread(list(fresh.values()))
        for compiled in fresh.values():
            for field in compiled.fields:
                _check_rules(field)
        _types.update(fresh)
        return _types[root]


def _spread(types: list[SpecType]) -> None:
    """Let each type know what the types below it have; types may contain themselves."""
    for flag in ("has_defaults", "has_references", "has_secrets", "has_write_only"):
        changed = True
        while changed:
            changed = False
            for compiled in types:
                if getattr(compiled, flag):
                    continue
                if any(field.message and getattr(field.message, flag) for field in compiled.fields):
                    setattr(compiled, flag, True)
                    changed = True


def _rules(descriptor: Any) -> options_pb2.FieldRules:
    # Re-read with our own options_pb2: the descriptor's pool may not know the extension.
    options = descriptor_pb2.FieldOptions.FromString(descriptor.GetOptions().SerializeToString())
    rules = options_pb2.FieldRules()
    rules.CopyFrom(options.Extensions[options_pb2.rules])
    return rules


def _is_map(descriptor: Any) -> bool:
    message = descriptor.message_type
    return bool(message is not None and message.GetOptions().map_entry)


def _pattern(field: FieldSpec) -> re.Pattern[str] | None:
    text = field.rules.pattern
    if not text:
        return None
    name = field.descriptor.full_name
    keyed = field.key is not None and field.key.cpp_type == FieldDescriptor.CPPTYPE_STRING
    if not (keyed or field.value is Value.STRING):
        raise ValueError(f"{name}: a pattern needs strings")
    if _NOT_RE2.search(text):
        raise ValueError(f"{name}: the pattern {text!r} is not common to RE2 and Python")
    try:
        return re.compile(text, re.ASCII)
    except re.error as error:
        raise ValueError(f"{name}: the pattern {text!r} can't be read: {error}") from error


def _default(field: FieldSpec) -> Message | None:
    text = field.rules.default_json
    if not text:
        return None
    message = message_factory.GetMessageClass(field.descriptor.containing_type)()
    try:
        value = json.loads(text)
        if isinstance(value, bool | str) and field.value in (Value.BOOL, Value.STRING):
            setattr(message, field.name, value)  # spares the common ones 8 ms of imports
        else:
            _parse(field.name, value, message)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{field.descriptor.full_name}: the default {text!r} can't be read: {error}"
        ) from error
    return message


def _parse(name: str, value: object, message: Message) -> None:
    from google.protobuf import json_format

    try:
        json_format.ParseDict({name: value}, message)
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error


def _check_identity(spec: SpecType, field: FieldSpec | None) -> None:
    if field is None or field.shape is not Shape.ONE or field.value not in (Value.STRING, Value.INTEGER):
        raise ValueError(
            f"{spec.full_name}: identity_field {spec.kind.identity_field!r} is no string or integer of it"
        )


def _check_rules(field: FieldSpec) -> None:
    name, rules = field.descriptor.full_name, field.rules
    if rules.list and field.shape is not Shape.LIST:
        raise ValueError(f"{name}: a list rule needs a list")
    if (rules.list == options_pb2.LIST_RULE_KEYED) != bool(rules.list_key):
        raise ValueError(f"{name}: KEYED and list_key go together")
    if rules.list == options_pb2.LIST_RULE_SET and field.message and field.message.has_write_only:
        raise ValueError(f"{name}: elements of a set can't hold write-only fields, nothing would match them")
    if rules.list_key:
        key = field.message.by_name.get(rules.list_key) if field.message else None
        if (
            key is None
            or key.shape is not Shape.ONE
            or key.value not in (Value.STRING, Value.INTEGER, Value.ENUM)
        ):
            raise ValueError(
                f"{name}: list_key {rules.list_key!r} is no string, integer or enum of the element"
            )
    if rules.reference and field.value is not Value.STRING:
        raise ValueError(f"{name}: a reference needs strings")
    if rules.json and (field.value is not Value.STRING or rules.pattern or rules.multiline):
        raise ValueError(f"{name}: JSON needs strings, without rules for their letters")
    if rules.unit and field.value is not Value.INTEGER:
        raise ValueError(f"{name}: a unit needs integers")
