from __future__ import annotations

import subprocess
import sys

import pytest

from cli.kinds import Kinds, api_files
from common.schema import SpecType
from nixcc.manager.v1 import manager_pb2
from nixcc.resource.v1 import options_pb2
from nixcc.state.v1 import state_pb2


def test_offline_knows_the_kinds_of_every_service() -> None:
    kinds = Kinds.offline()

    assert {"File", "Mount", "VirtualMachine"} <= set(kinds.names())
    assert kinds.names() == sorted(kinds.names())
    assert {info.service for info in kinds} >= {"system", "hardware", "vm"}


@pytest.mark.parametrize("word", ["VirtualMachine", "virtualmachine", "virtualmachines", "VM", "vm"])
def test_resolves_what_people_call_a_kind(word: str) -> None:
    found = Kinds.offline().resolve(word)

    assert found is not None
    assert (found.name, found.service) == ("VirtualMachine", "vm")
    assert found.message.DESCRIPTOR.full_name == "nixcc.vm.v1.VirtualMachine"


def test_unknown_words_resolve_to_nothing_and_have_a_neighbour() -> None:
    kinds = Kinds.offline()

    assert kinds.resolve("VirtualMachin") is None
    assert kinds.resolve("") is None
    assert kinds.get("virtualmachine") is None
    assert kinds.closest("VirtualMachin") == "VirtualMachine"
    assert kinds.closest("vm") == "VirtualMachine"
    assert kinds.closest("qqqqqqq") == ""


def test_reads_the_daemons_answer_in_a_pool_of_its_own() -> None:
    response = state_pb2.ListKindsResponse(files=api_files())
    response.kinds.append(
        state_pb2.ServiceKind(
            service="system",
            descriptor=manager_pb2.KindDescriptor(
                kind="File",
                message="nixcc.system.v1.File",
                options=options_pb2.KindOptions(plural="files", short_names=["f"], identity_field="path"),
            ),
        )
    )

    kinds = Kinds.from_response(state_pb2.ListKindsResponse.FromString(response.SerializeToString()))

    found = kinds.resolve("F")
    assert found is not None
    assert (found.name, found.service, found.options.identity_field) == ("File", "system", "path")
    assert kinds.names() == ["File"]
    field = SpecType.of(found.message.DESCRIPTOR).by_name["mode"]
    assert field.unit == options_pb2.UNIT_FILE_MODE
    from nixcc.system.v1 import file_pb2

    assert found.message is not file_pb2.File


def test_importing_loads_no_protobuf() -> None:
    code = "import sys, cli.kinds; sys.exit('google.protobuf' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
