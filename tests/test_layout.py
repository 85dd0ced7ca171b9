"""The tree keeps its rules: tests mirror sources, modules stay small, nothing is a stub."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("cli", "common", "gateway", "reconciler", "services")
MOST_LINES = 600

# Modules without a test of their own at the mirrored path -> the tests that run them for real instead.
TESTED_BY = {
    "cli/*": "tests/cli",
    "common/manager.py": "tests/common/test_manager_server.py",
    "reconciler/daemon.py": "tests/common/test_daemon.py",
    "reconciler/observer.py": "tests/reconciler/test_renderings.py",
    "reconciler/outcome.py": "tests/reconciler/test_controller.py",
    "reconciler/store/memory.py": "tests/reconciler/store/test_base.py",
    "reconciler/store/opening.py": "tests/reconciler/store/test_files.py",
    "reconciler/store/rows.py": "tests/reconciler/store/test_files.py",
    "reconciler/store/table.py": "tests/reconciler/store/test_base.py",
    "services/homelab/backup/models.py": "tests/services/homelab/backup/test_jobs.py",
    "services/homelab/exports/exported.py": "tests/services/homelab/exports/test_compose.py",
    "services/homelab/exports/text.py": "tests/cli/homelab/test_export.py",
    "services/homelab/backup/snapshots.py": "tests/services/homelab/backup/test_jobs.py",
    "services/homelab/backup/terms.py": "tests/services/homelab/backup/test_jobs.py",
    "services/homelab/backup/rpc.py": "tests/cli/homelab/test_backup.py",
    # What a whole file means is tested on whole files.
    "services/homelab/compose/*.py": "tests/services/homelab/compose/test_plan.py",
    "services/hardware/drivers/*.py": "tests/services/hardware/drivers/test_linux.py",
    "services/hardware/kinds/paths.py": "tests/services/hardware/kinds/test_mount.py",
    "services/hardware/models/*.py": "tests/services/hardware/drivers/test_linux.py",
    "services/hardware/service.py": "tests/services/hardware/test_rpc.py",
    "services/hardware/storage_recommendations.py": "tests/services/hardware/test_recommendations.py",
    "services/homelab/assembly.py": "tests/cli/homelab/test_containers.py",
    "services/homelab/drivers/base.py": "tests/services/homelab/drivers/test_conformance.py",
    "services/homelab/drivers/memory_*.py": "tests/services/homelab/drivers/test_memory.py",
    "services/homelab/drivers/machine_disks.py": "tests/services/homelab/backup/test_machine_disks.py",
    "services/homelab/drivers/declared.py": "tests/services/homelab/test_rpc.py",
    "services/homelab/messages.py": "tests/services/homelab/test_rpc.py",
    "services/homelab/models.py": "tests/services/homelab/test_rpc.py",
    "services/packages/*.py": "tests/services/packages/kinds/test_package.py",
    "services/system/backup/models.py": "tests/services/system/backup/test_records.py",
    "services/system/backup/rpc.py": "tests/cli/commands/test_backup.py",
    "services/system/drivers/file_target.py": "tests/services/system/drivers/test_linux_files.py",
    "services/system/drivers/memory.py": "tests/services/system/drivers/test_base.py",
    "services/system/drivers/guard*.py": "tests/services/system/drivers/test_guard.py",
    "services/system/drivers/nixos*.py": "tests/services/system/drivers/test_nixos.py",
    "services/system/generation/*.py": "tests/cli/commands/test_generation.py",
    "services/system/kinds/generation.py": "tests/services/system/kinds/test_generation.py",
    "services/system/drivers/*systemd*.py": "tests/services/system/drivers/test_linux_systemd.py",
    "services/system/drivers/predecessor*.py": "tests/services/system/drivers/test_predecessor.py",
    "services/system/predecessor_rpc.py": "tests/cli/commands/test_import_.py",
    "services/system/drivers/option_*.py": "tests/services/system/options/test_registry.py",
    "services/system/options/documentation.py": "tests/cli/commands/test_option.py",
    "services/system/options/rpc.py": "tests/cli/commands/test_option.py",
    "services/system/options/models.py": "tests/services/system/options/test_validation.py",
    "services/system/options/named.py": "tests/services/system/options/test_grammar.py",
    "services/system/options/types.py": "tests/services/system/options/test_grammar.py",
    "services/system/models.py": "tests/services/system/test_service.py",
    "services/updater/*.py": "tests/services/updater/test_rpc.py",
    "services/updater/drivers/*.py": "tests/services/updater/drivers/test_base.py",
    "services/vm/drivers/libvirt_backup.py": "tests/services/vm/test_disk_copies.py",
    "services/vm/*.py": "tests/services/vm/test_rpc.py",
    "services/vm/drivers/*.py": "tests/services/vm/kinds/test_machine.py",
    "services/vm/kinds/*.py": "tests/services/vm/kinds/test_machine.py",
    "services/vm/xml/*.py": "tests/services/vm/xml/test_hostile.py",
}


def modules() -> list[Path]:
    """Every source file, relative to the root."""
    return sorted(path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def test_every_module_has_a_test() -> None:
    missing = []
    for module in modules():
        mirrored = Path("tests") / module.parent / f"test_{module.name}"
        if module.name in ("__init__.py", "__main__.py") or (ROOT / mirrored).exists():
            continue
        if not any((ROOT / test).exists() for glob, test in TESTED_BY.items() if fnmatch(str(module), glob)):
            missing.append(f"{module}: expected {mirrored}, or an entry of TESTED_BY")
    assert not missing, "\n".join(missing)


def test_the_spine_is_tested_module_by_module() -> None:
    """In common and reconciler an exception is named, needed and real: no pattern covers what comes later."""
    for name, test in TESTED_BY.items():
        if not name.startswith(("common/", "reconciler/")):
            continue
        assert "*" not in name, f"{name}: name each module"
        assert (ROOT / name).exists(), f"{name} is gone"
        assert (ROOT / test).is_file(), f"{name}: {test} is gone"
        own = ROOT / "tests" / Path(name).parent / f"test_{Path(name).name}"
        assert not own.exists(), f"{name} has a test of its own"


def test_no_module_is_long() -> None:
    sources = [*modules(), *(path.relative_to(ROOT) for path in (ROOT / "scripts").rglob("*.py"))]
    lines = {path: len((ROOT / path).read_text().splitlines()) for path in sources}
    assert not {str(path): count for path, count in lines.items() if count > MOST_LINES}, "split them"


def test_nothing_is_a_stub() -> None:
    found = []
    for module in modules():
        text = (ROOT / module).read_text()
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", line):
                found.append(f"{module}:{number}: {line.strip()}")
        found += [f"{module}:{line}: does nothing" for line in empty_functions(ast.parse(text))]
    assert not found, "\n".join(found)


def empty_functions(tree: ast.Module) -> list[int]:
    """Lines of functions that only say `pass`; protocols say `...`, a deliberate no-op has a docstring."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and len(node.body) == 1
        and isinstance(node.body[0], ast.Pass)
    ]


def test_tests_are_no_packages() -> None:
    found = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("__init__.py")]
    assert not found, f"tests are imported by path (--import-mode=importlib): remove {found}"


def test_generated_code_holds_no_path_of_the_machine_that_made_it() -> None:
    image = (ROOT / "protos/gen/nixcc/api.binpb").read_bytes()
    assert str(ROOT).encode() not in image
