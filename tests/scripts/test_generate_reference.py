from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from cli.kinds import Kinds
from cli.manifest import load
from cli.reference import ENVELOPE, tree
from common.schema import SpecType

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "scripts/reference_examples"
KINDS = Kinds.offline()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("reference")
    (output / "gone.md").write_text("a service that is no more")
    subprocess.run([sys.executable, "scripts/generate_reference.py", str(output)], cwd=ROOT, check=True)
    return output


def test_the_committed_reference_is_that_of_the_protos(fresh: Path) -> None:
    committed = {path.name: path.read_text() for path in (ROOT / "docs/reference").iterdir()}

    assert committed == {path.name: path.read_text() for path in fresh.iterdir()}, "run: make docs"


@pytest.mark.parametrize("kind", KINDS.names())
def test_the_page_of_a_service_tells_of_every_field_of_its_kinds(fresh: Path, kind: str) -> None:
    info = KINDS.get(kind)
    assert info is not None
    page = (fresh / f"{info.service}.md").read_text()
    _, found, section = page.partition(f"\n## {kind}\n")

    assert found
    section = section.partition("\n## ")[0]
    assert "```yaml" in section
    for row in tree(SpecType.of(info.message.DESCRIPTOR), "spec"):
        assert f"\n| `{row.path.removeprefix('spec.')}` |" in section


def test_tells_what_stands_around_a_spec(fresh: Path) -> None:
    page = (fresh / "manifest.md").read_text()

    for name in ENVELOPE:
        assert f"\n## {name}\n" in page
    assert "| `depends_on.kind` |" in page


def test_tells_of_rpcs_and_their_messages(fresh: Path) -> None:
    page = (fresh / "state.md").read_text()

    assert "| `Watch` | `WatchRequest` | stream of `WatchResponse` |" in page
    assert "| `resources` | 1 | repeated `Resource` |" in page
    assert "| `labels` | 2 | map of `string` to `string` |" in (fresh / "resource.md").read_text()


def test_removes_the_pages_of_services_that_are_gone(fresh: Path) -> None:
    assert not (fresh / "gone.md").exists()


@pytest.mark.parametrize("kind", KINDS.names())
def test_every_kind_has_an_example_that_can_be_read(kind: str) -> None:
    [document] = load([str(EXAMPLES / f"{kind}.yaml")], KINDS, stdin=io.BytesIO())

    assert document.resource.kind == kind


def test_every_row_of_a_table_has_as_many_cells_as_its_head(fresh: Path) -> None:
    for page in fresh.glob("*.md"):
        width = 0
        for line in page.read_text().splitlines():
            cells = line.replace("\\|", "").count("|") if line.startswith("|") else 0
            if cells and width:
                assert cells == width, f"{page.name}: {line}"
            width = cells
