"""Resources and other messages as plain values, in a form that can be applied again: sizes are integers, modes are
quoted octal digits, enums go by their short names, JSON texts are unfolded, secrets are masked."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

from google.protobuf.message import Message

from cli import enums
from cli.kinds import KindInfo, Kinds
from common import quantities
from common.schema import FieldSpec, Shape, SpecType, Value
from common.spec_json import MASK, key_text, unfolded
from nixcc.resource.v1 import options_pb2


class Presenter:
    """Turns messages into JSON values. With `secrets`, each secret text is shown as a token and kept there."""

    def __init__(self, *, secrets: dict[str, str] | None = None) -> None:
        self._secrets = secrets

    def message(self, message: Message) -> Any:
        """The fields that are set."""
        schema = SpecType.of(message.DESCRIPTOR)
        if schema.is_well_known:
            return _well_known(message)
        return {
            descriptor.name: self.field(schema.by_number[descriptor.number], value)
            for descriptor, value in message.ListFields()
        }

    def field(self, field: FieldSpec, value: Any) -> Any:
        """The whole value of one field."""
        if field.shape is Shape.LIST:
            return [self._value(field, element) for element in value]
        if field.shape is Shape.MAP:
            return {key_text(key): self._value(field, value[key]) for key in sorted(value)}
        return self._value(field, value)

    def _value(self, field: FieldSpec, value: Any) -> Any:
        if field.rules.sensitive and field.value is not Value.MESSAGE:
            return self._masked(value)
        if field.value is Value.MESSAGE:
            return self.message(value)
        if field.value is Value.ENUM:
            return enums.short(field.element.enum_type, value)
        if field.rules.json:
            return unfolded(value)
        if field.value is Value.BYTES:
            return base64.b64encode(value).decode()
        if field.value is Value.INTEGER and field.unit == options_pb2.UNIT_FILE_MODE:
            return quantities.format_quantity(field.unit, value)
        if field.value is Value.FLOAT and not math.isfinite(value):
            return str(value)
        return value

    def _masked(self, value: Any) -> str:
        if self._secrets is None or not isinstance(value, str):
            return MASK
        token = f"{MASK}{len(self._secrets) + 1}"
        self._secrets[token] = value
        return token


_PLAIN = Presenter()


def spec_to_dict(message: Message) -> Any:
    """The fields of a spec (or any message) that are set, secrets masked."""
    return _PLAIN.message(message)


def resource_to_dict(resource: Any, kinds: Kinds) -> dict[str, Any]:
    """`{kind, metadata, spec, policy, status}`, without what is not set."""
    info = kinds.get(resource.kind)
    value = {
        "kind": resource.kind,
        "metadata": spec_to_dict(resource.metadata),
        "spec": _spec_to_dict(resource.spec, info),
    }
    if resource.HasField("policy"):
        value["policy"] = spec_to_dict(resource.policy)
    status: dict[str, Any] = {"conditions": [condition_value(c) for c in resource.status.conditions]}
    if resource.status.observed_generation:
        status["observed_generation"] = resource.status.observed_generation
    if resource.status.HasField("detected"):
        status["detected"] = _spec_to_dict(resource.status.detected, info)
    if resource.status.drift:
        status["drift"] = [change_value(change) for change in resource.status.drift]
    value["status"] = status
    return value


def manifest_to_dict(resource: Any, kinds: Kinds, presenter: Presenter = _PLAIN) -> dict[str, Any]:
    """What the owner would write: no output fields."""
    info = kinds.get(resource.kind)
    metadata: dict[str, Any] = {"name": resource.metadata.name}
    for name in ("labels", "annotations"):
        if getattr(resource.metadata, name):
            metadata[name] = dict(sorted(getattr(resource.metadata, name).items()))
    value = {
        "kind": resource.kind,
        "metadata": metadata,
        "spec": _spec_to_dict(resource.spec, info, presenter),
    }
    if resource.HasField("policy"):
        value["policy"] = spec_to_dict(resource.policy)
    return value


def _spec_to_dict(packed: Any, info: KindInfo | None, presenter: Presenter = _PLAIN) -> Any:
    if info is not None:
        return presenter.message(info.message.FromString(packed.value))
    # Its service has not been seen: there is nothing to read it with.
    return {"type_url": packed.type_url, "value": base64.b64encode(packed.value).decode()}


def condition_value(condition: Any) -> dict[str, Any]:
    """As Kubernetes writes conditions: status is `True`, `False` or `Unknown`."""
    return {
        "type": condition.type,
        "status": {1: "True", 2: "False", 3: "Unknown"}.get(condition.status, "Unknown"),
        "observed_generation": condition.observed_generation,
        "last_transition_time": time_text(condition.last_transition_time),
        "reason": condition.reason,
        "message": condition.message,
    }


def change_value(change: Any) -> dict[str, Any]:
    """One field that differs: values as JSON values, None for nothing."""
    value: dict[str, Any] = {
        "path": change.path,
        "detected": json.loads(change.detected_json) if change.detected_json else None,
        "desired": json.loads(change.desired_json) if change.desired_json else None,
    }
    for flag in ("replace", "pending"):
        if getattr(change, flag):
            value[flag] = True
    return value


def time_text(stamp: Any) -> str:
    """RFC 3339 in UTC, `forever` for what never ends."""
    from cli.manifest.folding import FOREVER

    return "forever" if stamp.seconds >= FOREVER else str(stamp.ToJsonString())


def duration_text(duration: Any) -> str:
    """As protobuf's JSON writes it, in decimal digits, and without zeros at the end: `0.00002s`."""
    text = str(duration.ToJsonString())
    return f"{text[:-1].rstrip('0').rstrip('.')}s" if "." in text else text


def _well_known(message: Message) -> Any:
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        return time_text(message)
    if name == "google.protobuf.Duration":
        return duration_text(message)
    from google.protobuf import json_format

    try:
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    except TypeError:  # an Any of a type this program does not know
        return {"type_url": getattr(message, "type_url", name)}


def table_cells(resource: Any, kinds: Kinds) -> list[tuple[str, str]]:
    """The kind's own columns: heading and text. What is never compared is told as the host has it."""
    info = kinds.get(resource.kind)
    if info is None:
        return []
    spec, seen = _both(resource, info)
    cells = []
    for path in info.options.columns:
        field = SpecType.of(info.message.DESCRIPTOR).by_name.get(path)
        told = seen if field is not None and field.rules.ignore else spec
        cells.append((path.rpartition(".")[2].replace("_", " "), _cell(told, path)))
    return cells


def _both(resource: Any, info: KindInfo) -> tuple[Any, Any]:
    """The spec as it was asked for, and as the host has it."""
    read = info.message.FromString
    return read(resource.spec.value), read(resource.status.detected.value)


def host_facts(resource: Any, kinds: Kinds) -> list[tuple[str, str]]:
    """What the host alone knows, as heading and text: fields that are not asked for, and never compared."""
    info = kinds.get(resource.kind)
    if info is None:
        return []
    spec, seen = _both(resource, info)
    return [
        (name.replace("_", " "), _cell(seen, name))
        for name, field in SpecType.of(info.message.DESCRIPTOR).by_name.items()
        if field.rules.ignore
        and field.presence
        and seen.HasField(field.name)
        and not spec.HasField(field.name)
    ]


def _cell(message: Any, path: str) -> str:
    for name in path.split(".")[:-1]:
        message = getattr(message, name)
    field = SpecType.of(message.DESCRIPTOR).by_name.get(path.rpartition(".")[2])
    if field is None or (field.presence and not message.HasField(field.name)):
        return "-"
    value = getattr(message, field.name)
    if field.shape is Shape.ONE and field.unit and not field.rules.sensitive:
        return quantities.format_quantity(field.unit, value)
    shown = _PLAIN.field(field, value)
    if isinstance(shown, (list, dict)):
        return ", ".join(map(str, shown)) or "-"
    return str(shown).lower() if isinstance(shown, bool) else str(shown)


def to_yaml(value: Any) -> str:
    """YAML that every reader understands alike: whatever could be taken for something else is quoted."""
    import yaml

    from cli.manifest.nodes import is_typed

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, data: str) -> Any:
        style = None
        if "\n" in data and not any(line.endswith((" ", "\t")) for line in data.split("\n")):
            style = "|"
        elif is_typed(data) or data.lower() in ("yes", "no", "on", "off", "y", "n"):
            style = '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Dumper.add_representer(str, text)
    written: str = yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110)
    return written
