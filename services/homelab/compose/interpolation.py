"""`$NAME`, `${NAME}`, defaults, errors and replacements in values, as compose has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from services.homelab.compose.verdicts import Findings
from services.homelab.compose.yaml_text import Tagged

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")
_DEEPEST = 20


class Wrong(Exception):
    """What is wrong with a value."""


def tree(value: Any, path: str, variables: Mapping[str, str], findings: Findings) -> Any:
    """The same with all values replaced; keys stay as they are. Faults name the field."""
    if isinstance(value, str):
        try:
            return text(value, variables)
        except Wrong as error:
            findings.fault(path, str(error))
            return "unset"
    if isinstance(value, list):
        return [tree(one, f"{path}[{index}]", variables, findings) for index, one in enumerate(value)]
    if isinstance(value, dict):
        return {
            key: tree(one, f"{path}.{key}" if path else key, variables, findings)
            for key, one in value.items()
        }
    if isinstance(value, Tagged):
        return Tagged(value.tag, tree(value.value, path, variables, findings))
    return value


def text(value: str, variables: Mapping[str, str], depth: int = 0) -> str:
    """One value; Wrong where a variable is missing or its form is."""
    if "$" not in value:
        return value
    if depth > _DEEPEST:
        raise Wrong("variables are nested too deep")
    found, position = [], 0
    while (dollar := value.find("$", position)) >= 0:
        found.append(value[position:dollar])
        rest = value[dollar + 1 :]
        if rest.startswith("$"):
            found.append("$")
            position = dollar + 2
        elif rest.startswith("{"):
            end = _closing(value, dollar + 2)
            found.append(_braced(value[dollar + 2 : end], variables, depth))
            position = end + 1
        elif name := _NAME.match(rest):
            found.append(_set(name[0], variables))
            position = dollar + 1 + name.end()
        else:
            # Begins no variable: it stands for itself, as in `^x$` and `$(id)`.
            found.append("$")
            position = dollar + 1
    return "".join([*found, value[position:]])


def _closing(value: str, start: int) -> int:
    depth, position = 1, start
    while position < len(value):
        if value.startswith("${", position):
            depth += 1
            position += 1
        elif value[position] == "}":
            depth -= 1
            if not depth:
                return position
        position += 1
    raise Wrong(f"{value!r} has a ${{ without its }}")


def _braced(inner: str, variables: Mapping[str, str], depth: int) -> str:
    matched = _NAME.match(inner)
    if matched is None:
        raise Wrong(f"${{{inner}}} names no variable")
    name, rest = matched[0], inner[matched.end() :]
    if not rest:
        return _set(name, variables)
    for operator in _OPERATORS:
        if rest.startswith(operator):
            word = rest[len(operator) :]
            there = name in variables and (bool(variables[name]) or not operator.startswith(":"))
            return _operated(operator[-1], name, word, there, variables, depth)
    raise Wrong(f"${{{inner}}} has no form that compose knows")


def _operated(
    operator: str, name: str, word: str, there: bool, variables: Mapping[str, str], depth: int
) -> str:
    if operator == "-":
        return variables[name] if there else text(word, variables, depth + 1)
    if operator == "+":
        return text(word, variables, depth + 1) if there else ""
    if there:
        return variables[name]
    said = text(word, variables, depth + 1)
    raise Wrong(f"the variable {name} must be set{f': {said}' if said else ''}")


def _set(name: str, variables: Mapping[str, str]) -> str:
    if name not in variables:
        raise Wrong(f"the variable {name} is not set; set it in variables or .env, or write ${{{name}:-}}")
    return variables[name]
