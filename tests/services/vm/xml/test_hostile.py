"""Hostile strings through the writers: they come back equal, or are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import InvalidRequest
from nixcc.vm.v1 import machine_pb2 as pb
from services.vm.drivers.base import VmDriver
from services.vm.kinds.machine import VirtualMachineKind
from services.vm.xml.domain import read_machine
from services.vm.xml.domain_edit import Host, edit_domain, new_domain
from services.vm.xml.notes import read_notes, write_notes
from services.vm.xml.tree import dump, parse

_PLANTED = st.sampled_from(
    [
        "</name><x>",
        "]]>",
        "<!--",
        "&lt;",
        "&#10;",
        "\x00",
        "\r",
        "\n",
        "\t",
        " ",
        "'",
        '"',
        "￾",
        "-rf",
        "../..",
        "％",
    ]
)
TEXT = st.lists(st.one_of(_PLANTED, st.text(max_size=12)), max_size=6).map("".join)
HOST = Host(domain_type=lambda accelerator: "test", is_block=lambda path: False, is_pc=False)


def written(text: str) -> pb.VirtualMachine:
    """A machine with the text wherever a person can put one."""
    return pb.VirtualMachine(
        machine_type=text or "pc",
        labels={f"k{text}": text},
        disks=[
            pb.Disk(target="vda", path=f"/{text}"),
            pb.Disk(target="vdb", volume=text, pool=text),
        ],
        interfaces=[pb.Interface(name="a", network=text), pb.Interface(name="b", bridge=text, model=text)],
        direct_boot=pb.DirectBoot(kernel=f"/k{text}", initrd=f"/i{text}", command_line=text),
        graphics=pb.Graphics(type=pb.GRAPHICS_TYPE_VNC, listen=text or "::1"),
    )


def check(text: str) -> None:
    spec = written(text)
    try:
        root = new_domain("web", spec, HOST)
        notes = read_notes(root)
        notes.labels = dict(spec.labels)
        edit_domain(root, spec, notes, HOST)
        write_notes(root, notes)
    except InvalidRequest:
        return
    again = parse(dump(root))
    seen = read_machine(again, read_notes(again))
    assert seen.labels == spec.labels
    assert [d.path for d in seen.disks] == [d.path for d in spec.disks]
    assert seen.disks[1].volume == text
    assert (seen.interfaces[0].network, seen.interfaces[1].bridge) == (text, text)
    assert seen.direct_boot == spec.direct_boot
    assert seen.machine_type == spec.machine_type
    assert seen.graphics.listen == spec.graphics.listen
    assert len(again.findall("devices/disk")) == 2


@given(TEXT)
@settings(max_examples=2_000, deadline=None)
def test_hostile_strings_come_back_equal_or_are_refused(text: str) -> None:
    check(text)


@pytest.mark.soak
@given(TEXT)
@settings(max_examples=20_000, deadline=None)
def test_twenty_thousand_hostile_strings_come_back_equal_or_are_refused(text: str) -> None:
    check(text)


@given(text=TEXT)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_libvirt_gives_hostile_strings_back_as_they_were(test_driver: VmDriver, text: str) -> None:
    from common.manager import Action, Change
    from vm_kinds import admitted, differing, look, report

    kind: Any = VirtualMachineKind(test_driver)
    spec = pb.VirtualMachine(
        memory=1 << 20,
        labels={"a": text},
        disks=[pb.Disk(target="vda", path=f"/{text}", format=pb.DISK_FORMAT_RAW)],
        direct_boot=pb.DirectBoot(kernel="/k", command_line=text),
    )
    try:
        desired, key = admitted(kind, "hostile", spec)
    except AssertionError:
        return  # refused by the rules of the fields
    try:
        kind.apply(Change(key, Action.CREATE, desired, None), report)
    except InvalidRequest:
        return
    assert not differing(desired, look(kind, key))
