"""What `switch-to-configuration dry-activate` says on standard error, and what its exit codes mean."""

from __future__ import annotations

import re

from services.system.generation.models import UnitChanges

# Perl's version and the rewrite in Rust say the same; each line is one list.
_LISTS = (
    ("stop", re.compile(r"would stop the following units: (.*)")),
    ("keep", re.compile(r"would NOT stop the following changed units: (.*)")),
    ("keep", re.compile(r"would NOT restart the following changed units: (.*)")),
    ("reload", re.compile(r"would reload the following units: (.*)")),
    ("restart", re.compile(r"would restart the following units: (.*)")),
    ("start", re.compile(r"would start the following units: (.*)")),
)
_SYSTEMD = re.compile(r"would restart systemd\b")


def parse(text: str) -> UnitChanges:
    """The lists; lines of other programs are passed over."""
    found: dict[str, list[str]] = {sort: [] for sort, _ in _LISTS}
    systemd = False
    for line in text.splitlines():
        line = line.strip()
        for sort, pattern in _LISTS:
            if match := pattern.fullmatch(line):
                found[sort] += [unit for unit in re.split(r",\s*", match[1]) if unit]
        systemd = systemd or bool(_SYSTEMD.match(line))
    lists = {sort: tuple(dict.fromkeys(units)) for sort, units in found.items()}
    return UnitChanges(**lists, systemd=systemd)
