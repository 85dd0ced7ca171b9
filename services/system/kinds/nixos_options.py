"""Kind NixosOptions: what it declares is rendered as it is; what the running system was made of tells it back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common import fieldpath, json_text
from common.errors import ControlError, InvalidRequest, Violation, WrongState
from common.manager import Applied, Change, Detected, Detection, JsonValue, Report
from nixcc.resource.v1.resource_pb2 import Renderings
from nixcc.system.v1 import nixos_options_pb2
from services.system.generation.desired import uncarriable
from services.system.options.models import Wrong

NixosOptions = nixos_options_pb2.NixosOptions

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEXT = "a module of your own flake may have it: ncc option refresh --flake REF reads the options from there"


class NixosOptionsKind:
    """`check` compares options with those that the host's NixOS has; `held` is what the running system was made of."""

    spec = NixosOptions

    def __init__(
        self,
        unsupported: Callable[[], str],
        check: Callable[[Mapping[str, json_text.JsonValue]], Sequence[Wrong]],
        held: Callable[[], Renderings],
    ) -> None:
        self._unsupported, self._check, self._held = unsupported, check, held

    def unsupported(self) -> str:
        return self._unsupported()

    def validate(self, name: str, spec: NixosOptions) -> Sequence[Violation]:
        value = json_text.parse(spec.options)
        if not isinstance(value, dict) or not value:
            return [
                Violation("options", "must be a mapping of options, such as {networking: {hostName: web}}")
            ]
        spec.options = json_text.canonical(value)
        if carried := [Violation("options", f"{path} {why}") for path, why in uncarriable(value)]:
            return carried
        try:
            wrong = self._check(value)
        except ControlError as error:
            raise WrongState(
                f"the options can't be checked: {error.message}",
                next_step=error.next_step,
            ) from error
        return [_violation(one) for one in wrong]

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[NixosOptions]]:
        texts = self._texts()
        return {key: Detected(NixosOptions(options=texts[key])) if key in texts else None for key in keys}

    def apply(self, change: Change[NixosOptions], report: Report) -> Applied:
        raise WrongState("only a NixOS generation makes it so")

    def enumerate(self) -> Sequence[str]:
        return sorted(self._texts())

    def render(self, name: str, spec: NixosOptions) -> Mapping[str, JsonValue]:
        value: Any = json_text.parse(spec.options)
        if not isinstance(value, dict):
            raise InvalidRequest("options must be a mapping", [Violation("options", "must be a mapping")])
        return value

    def close(self) -> None:
        """Nothing is open."""

    def _texts(self) -> dict[str, str]:
        found = self._held().resources
        return {one.name: one.options_json for one in found if one.kind == "NixosOptions"}


def _violation(wrong: Wrong) -> Violation:
    """The path as a field path, as far as one can lead there; the rest in words."""
    path, bracketed, rest = "options", False, list(wrong.path)
    while rest:
        step = rest[0]
        if isinstance(step, str) and _NAME.fullmatch(step):
            path, bracketed = fieldpath.join(path, step), False
        elif not bracketed:
            path, bracketed = fieldpath.at(path, step), True
        else:
            break
        rest.pop(0)
    inside = "".join(f"[{step!r}]" for step in rest)
    hint = "" if wrong.expected or "did you mean" in wrong.description else f" ({_NEXT})"
    return Violation(path, f"{inside} {wrong.description}{hint}".strip())
