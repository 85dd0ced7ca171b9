"""Which kinds there are, who owns them, and how to read their specs. Learnt from the services, kept over restarts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from common.errors import HostUnavailable, InvalidRequest, NotFound, Violation
from common.schema import SpecType
from nixcc.manager.v1 import manager_pb2 as pb
from nixcc.resource.v1 import options_pb2
from reconciler.link import ServiceLink

_RENDERED = (options_pb2.PERMANENCE_LASTING, options_pb2.PERMANENCE_LIVE_UNTIL_GENERATION)
_PREFIX = "type.googleapis.com/"


@dataclass(frozen=True)
class KindInfo:
    """A kind, its owner and its message class."""

    name: str
    descriptor: pb.KindDescriptor
    link: ServiceLink
    message: type[Message]

    def unpack(self, packed: any_pb2.Any) -> Message:
        """The spec in its own message."""
        spec: Message = self.message()
        spec.ParseFromString(packed.value)
        return spec

    def parse(self, value: bytes) -> Message:
        """The spec from its bytes."""
        spec: Message = self.message()
        spec.ParseFromString(value)
        return spec

    @cached_property
    def rendered(self) -> bool:
        """Whether its resources become part of the next NixOS generation."""
        return bool(self.descriptor.renderable and self.descriptor.options.permanence in _RENDERED)

    @cached_property
    def renderings_field(self) -> str:
        """Name of the spec field that takes what all services render; empty: it has none."""
        fields = SpecType.of(self.message.DESCRIPTOR).fields
        return next((field.name for field in fields if field.rules.renderings), "")

    @property
    def type_url(self) -> str:
        """The spec's name in an Any."""
        return _PREFIX + self.descriptor.message


class Catalog:
    """All kinds of all services, those that don't answer now included."""

    def __init__(self) -> None:
        self.links: dict[str, ServiceLink] = {}
        self.kinds: dict[str, KindInfo] = {}
        self._files: dict[str, bytes] = {}
        self._pools: dict[str, descriptor_pool.DescriptorPool] = {}

    def learn(self, link: ServiceLink, description: pb.DescribeResponse) -> None:
        """Takes what a service says of itself (or said before a restart)."""
        if link.name not in self._pools or self._files[link.name] != link.files:
            self._pools[link.name] = _pool(link.files)
            self._files[link.name] = link.files
        pool = self._pools[link.name]
        for descriptor in description.kinds:
            owner = self.kinds.get(descriptor.kind)
            if owner is not None and owner.link is not link:
                raise InvalidRequest(
                    f"services {owner.link.name} and {link.name} both own the kind {descriptor.kind}"
                )
        for descriptor in description.kinds:
            message = message_factory.GetMessageClass(pool.FindMessageTypeByName(descriptor.message))
            self.kinds[descriptor.kind] = KindInfo(descriptor.kind, descriptor, link, message)

    def resolve(self, word: str) -> KindInfo | None:
        """The kind that people mean by its name, plural or short name, in any case."""
        if word in self.kinds:
            return self.kinds[word]
        wanted = word.lower()
        for info in self.kinds.values():
            options = info.descriptor.options
            if wanted in (info.name.lower(), options.plural, *options.short_names):
                return info
        return None

    def require(self, word: str) -> KindInfo:
        """The kind; raises InvalidRequest for an unknown one, HostUnavailable while not all services were seen."""
        info = self.resolve(word)
        if info is not None:
            return info
        import difflib

        close = difflib.get_close_matches(word, self.kinds, 1)
        unseen = [name for name, link in self.links.items() if link.description is None]
        if unseen:
            guess = f"did you mean {close[0]}? Otherwise " if close else ""
            raise HostUnavailable(
                f"unknown kind {word!r}; services that were never seen: {', '.join(sorted(unseen))}",
                next_step=f"{guess}wait until they run (ncc doctor shows why they do not)",
            )
        raise InvalidRequest(
            f"unknown kind {word!r}",
            [Violation("kind", f"unknown kind {word!r}")],
            next_step=f"did you mean {close[0]}?"
            if close
            else f"known kinds: {', '.join(sorted(self.kinds))}",
        )

    def of_service(self, link: ServiceLink) -> Iterator[KindInfo]:
        """The kinds that one service owns."""
        return (info for info in self.kinds.values() if info.link is link)

    def owner(self, method: str) -> ServiceLink | None:
        """The link to the service that serves a domain rpc, by its full name `/package.Service/Rpc`."""
        service = method.strip("/").rpartition("/")[0]
        for link in self.links.values():
            if link.description is not None and service in link.description.rpc_services:
                return link
        # A service that was never seen: nixcc.vm.v1.VmService can only be vm's.
        package = service.split(".")
        unseen = self.links.get(package[1]) if len(package) == 4 and package[0] == "nixcc" else None
        return unseen if unseen is not None and unseen.description is None else None

    def response_class(self, link: ServiceLink, method: str) -> type[Message]:
        """The message that a domain rpc answers with; raises NotFound where the service has no such rpc."""
        service, _, name = method.strip("/").rpartition("/")
        try:
            descriptor = self._pools[link.name].FindServiceByName(service).methods_by_name[name]
        except KeyError as error:
            raise NotFound(f"service {link.name} has no rpc {method}") from error
        return message_factory.GetMessageClass(descriptor.output_type)

    def files(self, kinds: Iterable[KindInfo]) -> descriptor_pb2.FileDescriptorSet:
        """The descriptor files that the specs of these kinds need, imports first, each once."""
        ordered: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        by_service: dict[str, dict[str, descriptor_pb2.FileDescriptorProto]] = {}
        for info in kinds:
            name = info.link.name
            if name not in by_service:
                found = descriptor_pb2.FileDescriptorSet.FromString(self._files[name])
                by_service[name] = {file.name: file for file in found.file}
            known = by_service[name]
            _visit(info.message.DESCRIPTOR.file.name, known, ordered)
        return descriptor_pb2.FileDescriptorSet(file=ordered.values())


def _pool(files: bytes) -> descriptor_pool.DescriptorPool:
    """A pool with these files: this program's own where it has the very same ones, else a new one."""
    found = descriptor_pb2.FileDescriptorSet.FromString(files)
    own = descriptor_pool.Default()
    if all(_same(own, file) for file in found.file):
        return own
    pool = descriptor_pool.DescriptorPool()
    for file in found.file:
        pool.Add(file)
    return pool


def _same(pool: descriptor_pool.DescriptorPool, file: descriptor_pb2.FileDescriptorProto) -> bool:
    try:
        known = pool.FindFileByName(file.name)
    except KeyError:
        return False
    proto = descriptor_pb2.FileDescriptorProto()
    known.CopyToProto(proto)
    return proto == file


def _visit(
    name: str,
    known: Mapping[str, descriptor_pb2.FileDescriptorProto],
    ordered: dict[str, descriptor_pb2.FileDescriptorProto],
) -> None:
    """Adds a file after what it imports."""
    if name not in ordered:
        for dependency in known[name].dependency:
            _visit(dependency, known, ordered)
        ordered[name] = known[name]
