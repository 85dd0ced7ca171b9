"""What `ncc package` shows: tables and trees for people, values for programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cli.output import BOLD, GREEN, GREY, RED, YELLOW, paint, print_table, printable, size

# A tree of a whole system would fill the terminal many times over.
_MOST_LINES = 2_000


def as_value(verb: str, answer: Any) -> Any:
    """For programs: lists as `items`."""
    from cli.presentation import spec_to_dict

    value = spec_to_dict(answer)
    field = LISTS.get(verb)
    if field is not None:
        value["items"] = value.pop(field, [])
    return value


def names(verb: str, answer: Any) -> None:
    """For pipes: one word a line."""
    field = LISTS.get(verb, "")
    for row in getattr(answer, field, ()):
        print(printable(_name(row)))


def show(verb: str, answer: Any, *, tree: bool, dry_run: bool) -> None:
    """For people."""
    if verb == "closure" and tree:
        _tree(answer)
    elif verb == "gc":
        _garbage(answer, dry_run)
    else:
        _SHOWN[verb](answer)


def _name(row: Any) -> str:
    fields = row.DESCRIPTOR.fields_by_name
    for field in ("attribute", "path", "url", "version", "flake", "number"):
        if field in fields:
            return str(row.name if field == "attribute" and "declared" in fields else getattr(row, field))
    return " ".join(row.paths)


def _search(answer: Any) -> None:
    if not answer.packages:
        print("nothing was found")
        return
    rows = [[row.attribute, row.version, _marks(row), row.description[:80]] for row in answer.packages]
    print_table(["ATTRIBUTE", "VERSION", "", "DESCRIPTION"], rows)
    if answer.more:
        print(paint("there are more; narrow it down, or raise --limit", GREY))


def _marks(row: Any) -> str:
    return " ".join(mark for mark in ("unfree", "broken", "insecure") if getattr(row, mark))


def _info(answer: Any) -> None:
    row = answer.package
    print(f"{paint(row.attribute, BOLD)} {printable(row.version)}  {printable(row.description)}")
    for title, value in (
        ("home page", row.homepage),
        ("licences", ", ".join(row.licenses)),
        ("mind", _marks(row)),
        ("program", row.main_program),
        ("outputs", " ".join(row.outputs)),
        ("platforms", " ".join(row.platforms)),
        ("from", f"{answer.index.flake} at {answer.index.revision[:12]}"),
    ):
        if value:
            print(f"  {title:<10} {printable(value)}")
    for one in answer.installed:
        print(f"  installed  {one.version} as {printable(one.name)}" + (", pinned" if one.pinned else ""))


def _versions(answer: Any) -> None:
    rows = [[v.version, v.revision[:12], v.create_time.ToJsonString(), v.locked_url] for v in answer.versions]
    print_table(["VERSION", "REVISION", "INDEXED", "FLAKE"], rows)


def _installed(answer: Any) -> None:
    rows = [
        [
            row.name,
            row.attribute,
            row.version or "-",
            "declared" if row.declared else "not declared",
            "pinned" if row.pinned else "",
            row.flake,
        ]
        for row in answer.packages
    ]
    print_table(["NAME", "ATTRIBUTE", "VERSION", "", "", "FLAKE"], rows)
    print(paint(f"{printable(answer.profile)}/bin belongs into PATH", GREY))


def _closure(answer: Any) -> None:
    rows = [[size(row.size), size(row.closure_size), row.name, row.version, row.path] for row in answer.paths]
    print_table(["SIZE", "WITH ALL", "NAME", "VERSION", "PATH"], rows)
    print(f"{len(answer.paths)} paths, {size(answer.total_size)}")


def _tree(answer: Any) -> None:
    """Each path's needs once; again it is only named."""
    seen: set[int] = set()
    lines = 0
    # Positions with the prefixes of their own line and of those below.
    todo: list[tuple[int, str, str]] = [(at, "", "") for at in reversed(answer.roots)]
    while todo:
        at, own, below = todo.pop()
        row = answer.paths[at]
        lines += 1
        if lines > _MOST_LINES:
            print(paint(f"… and more; the table shows all {len(answer.paths)} paths", GREY))
            break
        again = at in seen and len(row.references) > 0
        version = f" {row.version}" if row.version else ""
        tail = " …" if again else ""
        print(
            f"{own}{printable(row.name + version)}  {size(row.size)}, with all {size(row.closure_size)}{tail}"
        )
        if again:
            continue
        seen.add(at)
        needs = sorted(row.references, key=lambda other: -answer.paths[other].closure_size)
        for number, other in reversed(list(enumerate(needs))):
            last = number == len(needs) - 1
            todo.append((other, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  ")))
    print(f"{len(answer.paths)} paths, {size(answer.total_size)}")


def _why(answer: Any) -> None:
    if not answer.ways:
        print("it is not needed")
    for way in answer.ways:
        for depth, path in enumerate(way.paths):
            print(f"{'   ' * (depth - 1)}{'└─ ' if depth else ''}{printable(path)}")


def _depends(answer: Any) -> None:
    rows = [[row.name, row.version, size(row.size), row.path] for row in answer.paths]
    print_table(["NAME", "VERSION", "SIZE", "PATH"], rows)
    if answer.packages:
        print(f"installed packages among them: {printable(', '.join(answer.packages))}")


def _history(answer: Any) -> None:
    rows = [_generation(row) for row in answer.generations]
    print_table(["", "GENERATION", "MADE", "PACKAGES", "CHANGES"], rows)


def _generation(row: Any) -> list[str]:
    made = row.create_time.ToJsonString().partition(".")[0]
    mark = "*" if row.current else ""
    return [mark, str(row.number), made, str(row.packages), ", ".join(map(_change, row.changes)) or "-"]


def _change(change: Any) -> str:
    if not change.before:
        return f"+{change.name} {change.after}"
    if not change.after:
        return f"-{change.name} {change.before}"
    return f"{change.name} {change.before} → {change.after}"


def _rollback(answer: Any) -> None:
    print(f"the profile is generation {answer.generation.number}; what is declared is put back by the loop")


def _upgraded(answer: Any) -> None:
    for change in answer.changes:
        print(printable(_change(change)))
    if not answer.changes:
        print("everything is as its flake has it")


def _garbage(answer: Any, dry_run: bool) -> None:
    if dry_run:
        rows = [
            ["kept" if root.kept else "", root.path.rpartition("/")[2], root.link] for root in answer.roots
        ]
        print_table(["", "KEEPS", "ROOT"], rows)
    if answer.generations:
        numbers = ", ".join(map(str, answer.generations))
        print(f"generations of the profile that {'would go' if dry_run else 'went'}: {numbers}")
    text = "would be freed" if dry_run else "were freed"
    print(f"{size(answer.bytes)} in {len(answer.paths)} paths {text}")


def _verified(answer: Any) -> None:
    for title, paths, colour in (
        ("damaged", answer.damaged, RED),
        ("gone", answer.missing, RED),
        ("put back", answer.repaired, GREEN),
    ):
        for path in paths:
            print(f"{paint(title, colour)}  {printable(path)}")
    print(f"{answer.checked} paths checked")
    if answer.damaged or answer.missing:
        print("  → ncc package verify --repair puts them back")


def _optimised(answer: Any) -> None:
    print(f"{answer.files} files became one with another, {size(answer.bytes)} freed")


def _caches(answer: Any) -> None:
    rows = []
    for row in answer.caches:
        state = "answers" if row.available else paint(row.error or "does not answer", YELLOW)
        time = f"{row.latency_ms:.0f} ms" if row.available else "-"
        known = f"{row.known_present}/{row.known_present + row.known_absent}"
        rows.append([row.url, state, str(row.priority or "-"), time, known, str(len(row.public_keys))])
    print_table(["CACHE", "STATE", "PRIORITY", "TIME", "HITS", "KEYS"], rows)


def _refreshed(answer: Any) -> None:
    state = "made anew" if answer.changed else "is there already"
    print(f"{answer.index.packages} packages of {printable(answer.index.locked_url)}: {state}")


def _indexes(answer: Any) -> None:
    rows = [
        [row.flake, row.revision[:12], str(row.packages), size(row.size), row.create_time.ToJsonString()]
        for row in answer.indexes
    ]
    print_table(["FLAKE", "REVISION", "PACKAGES", "SIZE", "MADE"], rows)


# Verbs that list things, and the field that holds them.
LISTS = {
    "search": "packages",
    "versions": "versions",
    "installed": "packages",
    "closure": "paths",
    "why": "ways",
    "depends": "paths",
    "history": "generations",
    "caches": "caches",
    "indexes": "indexes",
}
_SHOWN: dict[str, Callable[[Any], None]] = {
    "search": _search,
    "info": _info,
    "versions": _versions,
    "installed": _installed,
    "closure": _closure,
    "why": _why,
    "depends": _depends,
    "history": _history,
    "rollback": _rollback,
    "upgrade": _upgraded,
    "verify": _verified,
    "optimise": _optimised,
    "caches": _caches,
    "refresh": _refreshed,
    "indexes": _indexes,
}
