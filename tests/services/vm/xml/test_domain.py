from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from common.spec_json import to_json
from nixcc.vm.v1 import machine_pb2 as pb
from services.vm.kinds.pending import differing
from services.vm.xml.domain import holds, memory_of, read_machine
from services.vm.xml.domain_edit import Host, edit_domain
from services.vm.xml.network import read_network
from services.vm.xml.notes import read_notes
from services.vm.xml.tree import canonical, parse

RECORDED = Path(__file__).parent / "recorded"
HOST = Host(domain_type=lambda accelerator: "qemu", is_block=lambda path: False, is_pc=True)


@pytest.mark.parametrize("name", ["qemu-9.0-stored", "qemu-9.0-live"])
def test_recorded_machines_are_read(name: str) -> None:
    root = parse((RECORDED / f"{name}.xml").read_text())
    expected = json.loads((RECORDED / f"{name}.json").read_text())
    assert to_json(read_machine(root, read_notes(root))) == expected


def test_recorded_networks_are_read() -> None:
    root = parse((RECORDED / "network-9.0-live.xml").read_text())
    assert to_json(read_network(root)) == json.loads((RECORDED / "network-9.0-live.json").read_text())


def test_what_was_read_changes_nothing_when_written() -> None:
    root = parse((RECORDED / "qemu-9.0-stored.xml").read_text())
    before, notes = canonical(root), read_notes(root)
    edit_domain(root, read_machine(root, notes), notes, HOST)
    assert canonical(root) == before


def test_only_what_differs_between_stored_and_live_is_pending() -> None:
    stored, live = (parse((RECORDED / f"qemu-9.0-{name}.xml").read_text()) for name in ("stored", "live"))
    notes = read_notes(stored)
    assert differing(read_machine(stored, notes), read_machine(live, notes)) == ["memory"]


@pytest.mark.parametrize(
    ("requested", "actual", "expected"),
    [
        ("q35", "pc-q35-7.2", True),
        ("pc", "pc-i440fx-7.2", True),
        ("pc", "pc-q35-7.2", False),
        ("pc-q35-7.2", "pc-q35-7.2", True),
        ("pc-q35-7.2", "pc-q35-8.0", False),
        ("virt", "virt-9.1", True),
        ("q35", "q35", True),
        (".*", "pc-q35-7.2", False),
        ("", "pc-q35-7.2", False),
    ],
)
def test_a_machine_type_holds_its_versions(requested: str, actual: str, expected: bool) -> None:
    assert holds(requested, actual) is expected


@pytest.mark.parametrize(
    ("memory", "size"),
    [
        ("<memory unit='KiB'>524288</memory>", 512 * 1024**2),
        ("<memory>524288</memory>", 512 * 1024**2),
        ("<memory unit='b'>512</memory>", 512),
        ("<memory unit='MB'>5</memory>", 5_000_000),
        ("<memory unit='G'>1</memory>", 1024**3),
        ("<memory unit='TiB'>1</memory>", 1024**4),
    ],
)
def test_sizes_have_libvirts_units(memory: str, size: int) -> None:
    assert memory_of(parse(f"<domain>{memory}</domain>")) == (size, size)


def test_another_board_gets_new_slots() -> None:
    root = parse((RECORDED / "qemu-9.0-stored.xml").read_text())
    edit_domain(root, _like(root, machine_type="pc"), read_notes(root), HOST)
    assert [a for a in root.iter("address") if a.get("type") == "pci"] == []
    assert [c for c in root.iter("controller") if c.get("type") == "pci"] == []
    element = root.find("os/type")
    assert element is not None
    assert element.get("machine") == "pc"


def test_a_direct_kernel_goes_with_all_that_belongs_to_it() -> None:
    root = parse((RECORDED / "qemu-9.0-stored.xml").read_text())
    wanted = _like(root)
    wanted.direct_boot.kernel, wanted.direct_boot.initrd, wanted.direct_boot.command_line = "/k", "/i", "a b"
    edit_domain(root, wanted, read_notes(root), HOST)
    assert (root.findtext("os/kernel"), root.findtext("os/cmdline")) == ("/k", "a b")
    without = _like(root)
    without.direct_boot.Clear()
    without.direct_boot.kernel = ""
    edit_domain(root, without, read_notes(root), HOST)
    assert {child.tag for child in root.find("os") or ET.Element("os")} == {"type", "boot"}


def _like(root: ET.Element, **fields: str) -> pb.VirtualMachine:
    spec = read_machine(root, read_notes(root))
    for name, value in fields.items():
        setattr(spec, name, value)
    return spec
