"""The kinds that the daemon (or, without one, the packaged API) knows, with message classes made from descriptors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from nixcc.resource.v1 import options_pb2
    from nixcc.state.v1 import state_pb2


class KindInfo(NamedTuple):
    """A kind: `VirtualMachine`, its spec's message class, its options and the name of the service that owns it."""

    name: str
    message: type[Message]
    options: options_pb2.KindOptions
    service: str


class Kinds:
    """Finds kinds by what people call them."""

    def __init__(self, infos: Iterable[KindInfo]) -> None:
        self._by_name = {info.name: info for info in sorted(infos, key=lambda info: info.name)}
        self._by_word: dict[str, KindInfo] = {}
        # Names win over plurals, plurals over short names, whatever a later service calls its own.
        for info in self:
            self._by_word.setdefault(info.name.lower(), info)
        for info in self:
            self._by_word.setdefault(info.options.plural.lower(), info)
        for info in self:
            for word in info.options.short_names:
                self._by_word.setdefault(word.lower(), info)
        self._by_word.pop("", None)

    @classmethod
    def from_response(cls, response: state_pb2.ListKindsResponse) -> Kinds:
        """From the daemon's answer; the messages live in a pool of their own."""
        classes = _Classes(response.files)
        return cls(
            KindInfo(
                kind.descriptor.kind,
                classes.of(kind.descriptor.message),
                kind.descriptor.options,
                kind.service,
            )
            for kind in response.kinds
        )

    @classmethod
    def offline(cls) -> Kinds:
        """From the packaged API: every message with the kind option, whether its service runs or not."""
        from google.protobuf import descriptor_pb2

        from nixcc.resource.v1 import options_pb2

        files = api_files()
        classes = _Classes(files)
        found = []
        for file in files.file:
            for message in file.message_type:
                # Parsed again where the extension is known for sure.
                options = descriptor_pb2.MessageOptions.FromString(message.options.SerializeToString())
                if options.HasExtension(options_pb2.kind):
                    own = options_pb2.KindOptions()
                    own.CopyFrom(options.Extensions[options_pb2.kind])
                    name = f"{file.package}.{message.name}"
                    found.append(KindInfo(message.name, classes.of(name), own, service_of(file.package)))
        return cls(found)

    def resolve(self, word: str) -> KindInfo | None:
        """The kind of that name, plural or short name, in upper or lower case."""
        return self._by_name.get(word) or self._by_word.get(word.lower())

    def get(self, name: str) -> KindInfo | None:
        """The kind of exactly that name."""
        return self._by_name.get(name)

    def names(self) -> list[str]:
        """The kinds' names, sorted."""
        return list(self._by_name)

    def closest(self, word: str) -> str:
        """The name of the kind that was probably meant; empty: nobody can tell."""
        found = self.resolve(word)
        if found is None:
            near = difflib.get_close_matches(word.lower(), self._by_word, 1)
            found = self._by_word[near[0]] if near else None
        return found.name if found is not None else ""

    def __iter__(self) -> Iterator[KindInfo]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)


class _Classes:
    """Message classes of a set of files, imports first."""

    def __init__(self, files: Any) -> None:
        from google.protobuf import descriptor_pool

        self._pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self._pool.AddSerializedFile(file.SerializeToString())

    def of(self, name: str) -> type[Message]:
        from google.protobuf import message_factory

        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))


def api_files() -> Any:
    """The packaged descriptors of the whole API with their comments, a FileDescriptorSet, imports first."""
    from importlib.resources import files

    from google.protobuf import descriptor_pb2

    return descriptor_pb2.FileDescriptorSet.FromString(files("nixcc").joinpath("api.binpb").read_bytes())


def service_of(package: str) -> str:
    """The service that a proto package belongs to: `vm` for `nixcc.vm.v1`."""
    return package.split(".")[1] if package.count(".") else package
