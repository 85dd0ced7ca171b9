"""Types that NixOS calls by a name of their own, and patterns in POSIX's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from services.system.options.types import (
    AnyOf,
    Attrs,
    Bool,
    Data,
    List,
    Location,
    Null,
    Number,
    Submodule,
    Text,
    Tuple,
    Type,
    Unsayable,
)

_CLASSES = {
    "[:alnum:]": "A-Za-z0-9",
    "[:alpha:]": "A-Za-z",
    "[:blank:]": " \\t",
    "[:digit:]": "0-9",
    "[:graph:]": "!-~",
    "[:lower:]": "a-z",
    "[:print:]": " -~",
    "[:punct:]": "!-/:-@\\[-`{-~",
    "[:space:]": " \\t\\n\\r\\f\\v",
    "[:upper:]": "A-Z",
    "[:xdigit:]": "0-9A-Fa-f",
}
_LINE = r"[^\n\r]*"


def posix_pattern(text: str) -> re.Pattern[str] | None:
    """An extended regular expression as Python's; None where it can't be read so."""
    for name, letters in _CLASSES.items():
        text = text.replace(name, letters)
    try:
        return re.compile(text, re.DOTALL)
    except (re.error, OverflowError, RecursionError):
        return None


def _text(pattern: str = "") -> Callable[[str], Type]:
    compiled = re.compile(pattern, re.DOTALL) if pattern else None
    return lambda text: Text(text, compiled)


_ATOMS: dict[str, Callable[[str], Type]] = {
    "null": Null,
    "bool": Bool,
    "int": Number,
    "float": lambda text: Number(text, integers=False, floats=True),
    "string": Text,
    "path": Location,
    "package": lambda text: Location(text, stored=True),
}


def _either(names: Iterable[str], text: str) -> Type:
    return AnyOf(text, tuple(_ATOMS[name](name) for name in names))


def _atoms(*names: str, listed: bool = False, least: int = 0, sets: int = 0) -> Callable[[str], Type]:
    """One of some atoms; `listed`: or a list of them; within `sets` attribute sets."""

    def build(text: str) -> Type:
        one = _either(names, text)
        if listed:
            one = AnyOf(text, (one, List(text, one, least)))
        for _ in range(sets):
            one = Attrs(text, one)
        return one

    return build


def _matrix(text: str, size: int) -> Type:
    number = Number("floating point number", integers=False, floats=True)
    row = Tuple(text, (number,) * size)
    return Tuple(text, (row,) * size)


_INI = ("null", "bool", "int", "float", "string")
_INI_NAME = "INI atom (null, bool, int, float or string)"
_SECTION = "section of an INI file (attrs of "

NAMED: dict[str, Callable[[str], Type]] = {
    "boolean": Bool,
    "null": Null,
    "string": Text,
    "str": Text,
    "non-empty string": _text(r".*\S.*"),
    "single-line string": _text(_LINE),
    "(optionally newline-terminated) single-line string": _text(_LINE + r"\n?"),
    "string, not containing newlines or colons": _text(r"[^\n:]*"),
    "string without line breaks or quotes": _text(r"[^\n\r\"]*"),
    "string without spaces": _text(r"[^ ]*"),
    "string starting with / or ~/": _text(r"~?/.*"),
    "string containing all of the characters %Y, %m, %d, %H, %M, %S": _text(
        "".join(f"(?=.*%{letter})" for letter in "YmdHMS") + ".*"
    ),
    "string containing either a number or a range": _text(r"[0-9]+(?:-[0-9]+)?"),
    "string of the form number{b|k|M|G}": _text(r"[0-9]+[bkMG]"),
    "file mode string": _text(r"[0-7]{3,4}"),
    "Minecraft UUID": _text(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"),
    "key ID prefixed with KEY_": _text(r"KEY_.+"),
    "PKCS#11 URI": _text(r"pkcs11:.*"),
    "tmpfiles.d(5) age format": Text,
    "Go duration (https://golang.org/pkg/time/#ParseDuration)": Text,
    "configured template name": Text,
    "coderepo names": Text,
    "path": Location,
    "absolute path": Location,
    "path, not containing newlines or colons": Location,
    "path in the Nix store": lambda text: Location(text, stored=True),
    "package": lambda text: Location(text, stored=True),
    "package with provided sessions": lambda text: Location(text, stored=True),
    "integer": Number,
    "signed integer": Number,
    "integer of at least 16 bits": lambda text: Number(text, 16),
    "floating point number": lambda text: Number(text, integers=False, floats=True),
    "number": lambda text: Number(text, floats=True),
    "attribute set": lambda text: Attrs(text, Type("anything")),
    "submodule": Submodule,
    "attribute-tagged union": Submodule,
    "settings option": Type,
    "dataset/template options": Submodule,
    "secret value": Type,
    "raw elixir": Type,
    "systemd option": Type,
    "unspecified value": Type,
    "unspecified": Type,
    "anything": Type,
    "raw value": Type,
    "optionType": Unsayable,
    "none": Type,
    "lambda": Unsayable,
    "function": Unsayable,
    "module": Type,
    "list of them": lambda text: List(text, Type("anything")),
    "YAML value": Data,
    "YAML 1.1 value": Data,
    "JSON value": Data,
    "Json value": Data,
    "HOCON value": Data,
    "PHP value": Data,
    "Python value": Data,
    "Elixir value": Data,
    "libconfig value": Data,
    "Lua value": Data,
    "XML value": Data,
    "CDN value": Data,
    "TOML value": lambda text: Data(text, nulls=False),
    _INI_NAME: _atoms(*_INI),
    f"{_INI_NAME} or a list of them for duplicate keys": _atoms(*_INI, listed=True),
    f"{_INI_NAME} or a non-empty list of them": _atoms(*_INI, listed=True, least=1),
    f"{_SECTION}{_INI_NAME})": _atoms(*_INI, sets=1),
    f"{_SECTION}{_INI_NAME} or a list of them for duplicate keys)": _atoms(*_INI, listed=True, sets=1),
    f"{_SECTION}{_INI_NAME} or a non-empty list of them)": _atoms(*_INI, listed=True, least=1, sets=1),
    "atom (null, bool, int, float or string)": _atoms(*_INI),
    "atom (null, bool, int, float or string) or a list of them for duplicate keys": _atoms(
        *_INI, listed=True
    ),
    "atom (bool, int or string)": _atoms("bool", "int", "string"),
    "atom (bool, int or string) or a list of them for duplicate keys": _atoms(
        "bool", "int", "string", listed=True
    ),
    "string, path, bool, or integer": _atoms("string", "path", "bool", "int"),
    "string, package, bool, int or float": _atoms("string", "package", "bool", "int", "float"),
    "int, bool, string or list of them": _atoms("int", "bool", "string", listed=True),
    "Nix config atom (null, bool, int, float, str, path or package)": _atoms(*_INI, "path", "package"),
    "Flat key-value file": Type,
    "sysctl option value": _atoms("null", "bool", "int", "string"),
    "printable string without spaces, # and /": _text(r"[!\"$-.0-~]*"),
    "list of string, with spaces inside double quotes": lambda text: List(text, Text("string")),
    "IPv4": _text(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,2})?"),
    "IPv6 address": _text(r"[0-9A-Fa-f:.]+(?:%[^ /]+)?"),
    "Network prefix in CIDR notation": _text(r"[0-9A-Fa-f:.]+/[0-9]{1,3}"),
    "session name": Text,
    "NetworkManager plug-in": lambda text: Location(text, stored=True),
    "ibus-engine": lambda text: Location(text, stored=True),
    "package that is a Home Assistant component": lambda text: Location(text, stored=True),
    "nonnegative floating point number, meaning >=0": lambda text: Number(
        text, 0, integers=False, floats=True
    ),
    "3×3 matrix of floating point numbers": lambda text: _matrix(text, 3),
    "nixpkgs config": lambda text: Attrs(text, Type("anything")),
    "nixpkgs overlay": Unsayable,
    "Toplevel NixOS config": Type,
    "An evaluation of Nixpkgs; the top level attribute set of packages": Unsayable,
    "elixir tuple": Type,
    "freeciv-server params": lambda text: Attrs(text, Type("anything")),
    "instances of this type recursively": Data,
    "Traffic Server records value": Data,
    "an attrset containing `path` or `base64` for included values": Type,
}
