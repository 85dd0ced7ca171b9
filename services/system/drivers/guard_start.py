"""Starts the guard: `python -I -S guard_start.py FOLDER`.

The packages around it would load the daemon's libraries (300 ms, and more that can break): bare ones stand in for them.
"""

from __future__ import annotations

import sys
from types import ModuleType


def main() -> int:
    """See guard.main."""
    root = __file__.rsplit("/", 4)[0]
    sys.path.insert(0, root)
    for name in ("services", "services.system", "services.system.drivers"):
        bare = ModuleType(name)
        bare.__path__ = [f"{root}/{name.replace('.', '/')}"]
        sys.modules[name] = bare
    from services.system.drivers import guard

    return guard.main(sys.argv[1])


if __name__ == "__main__":
    raise SystemExit(main())
