"""The documents that an import writes: NixOS options by topic, and resources with kinds of their own."""

from __future__ import annotations

import re
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,252}")


class Documents:
    """Collects them; asked twice for the same resource, it adds to it."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], dict[str, Any]] = {}

    def option(self, topic: str, path: str | tuple[str, ...], value: Any) -> str:
        """Sets one NixOS option in `NixosOptions/TOPIC` (lists grow); gives the resource's reference."""
        parts = path.split(".") if isinstance(path, str) else list(path)
        inner = self._spec("NixosOptions", topic).setdefault("options", {})
        for part in parts[:-1]:
            inner = inner.setdefault(part, {})
        if isinstance(value, list):
            known = inner.setdefault(parts[-1], [])
            for item in value:
                if item not in known:
                    known.append(item)
        else:
            inner[parts[-1]] = value
        return f"NixosOptions/{topic}"

    def resource(self, kind: str, name: str, **spec: Any) -> str:
        """Adds fields to a resource's spec; gives its reference."""
        self._spec(kind, name).update(spec)
        return f"{kind}/{name}"

    def package(self, attribute: str) -> str:
        """A package of nixpkgs, in the next generation; gives the resource's reference."""
        return self.resource("Package", resource_name(attribute), attribute=attribute, driver="SYSTEM")

    def package_set(
        self,
        name: str,
        attributes: tuple[str, ...],
        requires: tuple[str, ...] = (),
        conflicts: tuple[str, ...] = (),
    ) -> str:
        """A named group of packages of nixpkgs; gives its reference."""
        more = {"requires": list(requires), "conflicts": list(conflicts)}
        fields = {field: value for field, value in more.items() if value}
        return self.resource("PackageSet", name, packages=list(attributes), **fields)

    def documents(self) -> list[dict[str, Any]]:
        """All, in the order they were begun; specs that hold nothing are left out."""
        return [
            {"kind": kind, "metadata": {"name": name}, "spec": spec}
            for (kind, name), spec in self._found.items()
            if spec
        ]

    def _spec(self, kind: str, name: str) -> dict[str, Any]:
        return self._found.setdefault((kind, name), {})


def resource_name(text: str) -> str:
    """A resource name as near to the text as may be; empty: there is none."""
    name = re.sub(r"[^A-Za-z0-9._@:-]+", "-", text).lstrip("._@:-")[:253]
    return name if _NAME.fullmatch(name) else ""
