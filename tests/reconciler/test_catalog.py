"""Kinds and who owns them: by any of their names, with services that changed or contradict each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool

from common.errors import HostUnavailable, InvalidRequest, NotFound
from nixcc.manager.v1 import manager_pb2 as pb
from nixcc.resource.v1 import options_pb2
from reconciler.catalog import Catalog
from reconciler.link import ServiceLink


def link(tmp_path: Path, name: str) -> ServiceLink:
    return ServiceLink(
        name,
        tmp_path / f"{name}.sock",
        on_up=lambda link: None,
        on_down=lambda link: None,
        on_hint=lambda kind, keys: None,
    )


def file(
    package: str, *messages: str, fields: tuple[str, ...] = ("text",)
) -> descriptor_pb2.FileDescriptorProto:
    made = descriptor_pb2.FileDescriptorProto(
        name=f"nixcc/{package}/v1/{package}.proto", package=f"nixcc.{package}.v1", syntax="proto3"
    )
    made.dependency.append("nixcc/resource/v1/options.proto")
    for name in messages:
        message = made.message_type.add(name=name)
        for number, field in enumerate(fields, 1):
            message.field.add(name=field, number=number, type=9, label=1)
    service = made.service.add(name="ThingService")
    service.method.add(
        name="Do",
        input_type=f".nixcc.{package}.v1.{messages[0]}",
        output_type=f".nixcc.{package}.v1.{messages[0]}",
    )
    return made


def description(package: str, *kinds: str) -> pb.DescribeResponse:
    made = pb.DescribeResponse(service=package, rpc_services=[f"nixcc.{package}.v1.ThingService"])
    for kind in kinds:
        options = options_pb2.KindOptions(plural=f"{kind.lower()}s", short_names=[kind[:2].lower()])
        made.kinds.add(kind=kind, message=f"nixcc.{package}.v1.{kind}", options=options)
    return made


def files(*own: descriptor_pb2.FileDescriptorProto) -> bytes:
    """With all that they import, imports first."""
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def visit(name: str) -> None:
        known = descriptor_pool.Default().FindFileByName(name)
        for dependency in known.dependencies:
            visit(dependency.name)
        proto = descriptor_pb2.FileDescriptorProto()
        known.CopyToProto(proto)
        found[name] = proto

    visit("nixcc/resource/v1/options.proto")
    everything = descriptor_pb2.FileDescriptorSet(file=[*found.values(), *own])
    return everything.SerializeToString(deterministic=True)


def learnt(catalog: Catalog, made: ServiceLink, *kinds: str, fields: tuple[str, ...] = ("text",)) -> None:
    catalog.links[made.name] = made
    made.files = files(file(made.name, *kinds, fields=fields))
    made.description = description(made.name, *kinds)
    catalog.learn(made, made.description)


@pytest.fixture
async def catalog(tmp_path: Path) -> Catalog:
    made = Catalog()
    learnt(made, link(tmp_path, "alpha"), "Apple", "Apricot")
    learnt(made, link(tmp_path, "beta"), "Berry")
    return made


@pytest.mark.parametrize("word", ["Berry", "berry", "BERRY", "berrys", "be"])
async def test_people_may_say_it_in_many_ways(catalog: Catalog, word: str) -> None:
    assert catalog.require(word).name == "Berry"


async def test_what_nobody_knows_comes_with_a_guess_or_with_all_that_is_known(catalog: Catalog) -> None:
    with pytest.raises(InvalidRequest, match="unknown kind 'Bery'") as close:
        catalog.require("Bery")
    with pytest.raises(InvalidRequest) as far:
        catalog.require("Xyz")

    assert "did you mean Berry?" in close.value.next_step
    assert "Apple, Apricot, Berry" in far.value.next_step


async def test_it_may_be_a_kind_of_a_service_that_was_never_seen(catalog: Catalog, tmp_path: Path) -> None:
    catalog.links["gamma"] = link(tmp_path, "gamma")

    with pytest.raises(HostUnavailable, match="never seen: gamma"):
        catalog.require("Grape")
    with pytest.raises(HostUnavailable) as close:
        catalog.require("Bery")
    assert "did you mean Berry?" in close.value.next_step


async def test_two_services_can_not_own_one_kind(catalog: Catalog, tmp_path: Path) -> None:
    thief = link(tmp_path, "delta")

    with pytest.raises(InvalidRequest, match="alpha and delta both own the kind Apple"):
        learnt(catalog, thief, "Date", "Apple")
    assert catalog.require("Apple").link.name == "alpha"
    assert catalog.resolve("Date") is None, "refused whole"


async def test_a_service_that_was_updated_is_read_by_its_new_descriptors(catalog: Catalog) -> None:
    old = catalog.require("Berry")
    learnt(catalog, catalog.links["beta"], "Berry", fields=("text", "colour"))
    new = catalog.require("Berry")

    packed = any_pb2.Any(type_url=new.type_url)
    packed.value = _packed(new.message, text="a", colour="red")

    assert _read(new.unpack(packed), "colour") == "red"
    assert _read(old.unpack(packed), "text") == "a", "an older reader passes over what it does not know"


def _packed(message: Any, **values: str) -> bytes:
    return bytes(message(**values).SerializeToString())


def _read(message: Any, field: str) -> str:
    return str(getattr(message, field))


async def test_saying_the_same_again_keeps_the_classes(catalog: Catalog) -> None:
    before = catalog.require("Berry").message
    learnt(catalog, catalog.links["beta"], "Berry")

    assert catalog.require("Berry").message.DESCRIPTOR is before.DESCRIPTOR


async def test_domain_rpcs_have_an_owner_and_an_answer(catalog: Catalog) -> None:
    method = "/nixcc.beta.v1.ThingService/Do"
    owner = catalog.owner(method)

    assert owner is catalog.links["beta"]
    assert catalog.response_class(owner, method).DESCRIPTOR.full_name == "nixcc.beta.v1.Berry"
    for wrong in ("/nixcc.manager.v1.ManagerService/Apply", "/nixcc.gamma.v1.ThingService/Do", "", "/", "//"):
        assert catalog.owner(wrong) is None
    with pytest.raises(NotFound, match="no rpc"):
        catalog.response_class(owner, "/nixcc.beta.v1.ThingService/Undo")


async def test_files_come_imports_first_and_each_once(catalog: Catalog) -> None:
    names = [one.name for one in catalog.files(catalog.kinds.values()).file]

    assert sorted(names) == sorted(set(names))
    for own in ("nixcc/alpha/v1/alpha.proto", "nixcc/beta/v1/beta.proto"):
        assert names.index("nixcc/resource/v1/options.proto") < names.index(own)
    pool = descriptor_pool.DescriptorPool()
    for one in catalog.files(catalog.kinds.values()).file:
        pool.Add(one)
    assert pool.FindMessageTypeByName("nixcc.alpha.v1.Apricot")
