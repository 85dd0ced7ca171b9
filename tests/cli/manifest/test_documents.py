"""Whole manifests: what they become, and every mistake with its file, line and column."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cli.kinds import Kinds
from cli.manifest import Document, ManifestError, load, parse

KINDS = Kinds.offline()


def specs(text: str, file: str = "m.yaml") -> list[Any]:
    return [spec(document) for document in parse(text, KINDS, file=file)]


def spec(document: Document) -> Any:
    info = KINDS.get(document.resource.kind)
    assert info is not None
    return info.message.FromString(document.resource.spec.value)


def problems(text: str, file: str = "m.yaml") -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse(text, KINDS, file=file)
    return [str(problem) for problem in caught.value.problems]


def file_spec(body: str) -> str:
    return f"kind: File\nmetadata: {{name: a}}\nspec:\n  path: /a\n  {body}\n"


def vm_spec(body: str) -> str:
    return f"kind: VirtualMachine\nmetadata: {{name: a}}\nspec:\n  {body}\n"


def test_reads_the_documented_file_manifest() -> None:
    (document,) = parse(
        '{kind: File, metadata: {name: motd}, spec: {path: /etc/motd, content: "hello\\n", mode: "0644"}}',
        KINDS,
    )

    assert (document.resource.kind, document.resource.metadata.name) == ("File", "motd")
    found = spec(document)
    assert (found.path, found.content, found.mode) == ("/etc/motd", "hello\n", 0o644)
    assert not found.HasField("directory"), "defaults are the daemon's to fill in"


def test_folds_quantities_and_enums_by_the_fields_rules() -> None:
    found = specs(
        vm_spec(
            "cpus: 2\n  memory: 512MiB\n  running: true\n  firmware: uefi\n  shutdown_timeout: 1m30s\n"
            "  disks: [{target: vda, path: /x, size: 10GB, format: DISK_FORMAT_QCOW2, bus: virtio}]"
        )
    )[0]

    assert (found.cpus, found.memory, found.running, found.shutdown_timeout) == (2, 512 * 2**20, True, 90)
    assert found.firmware == 2
    assert (found.disks[0].size, found.disks[0].format, found.disks[0].bus) == (10**10, 2, 1)


def test_reads_metadata_and_policy() -> None:
    (document,) = parse(
        """
kind: File
metadata: {name: a, labels: {app: web}, annotations: {note: "x y"}, etag: "12"}
spec: {path: /a}
policy:
  drift: OBSERVE
  deletion: orphan
  suspend_until: forever
  depends_on: [{kind: VirtualMachine, name: web}]
  ignored_fields: [content]
""",
        KINDS,
    )

    metadata, policy = document.resource.metadata, document.resource.policy
    assert dict(metadata.labels) == {"app": "web"}
    assert dict(metadata.annotations) == {"note": "x y"}
    assert metadata.etag == "12"
    assert (policy.drift, policy.deletion) == (2, 2)
    assert policy.suspend_until.ToJsonString().startswith("9999-12-31T23:59:59")
    assert [(ref.kind, ref.name) for ref in policy.depends_on] == [("VirtualMachine", "web")]
    assert list(policy.ignored_fields) == ["content"]


def test_suspend_until_takes_a_time_with_a_zone() -> None:
    text = file_spec("").rstrip() + "\npolicy: {suspend_until: 2027-01-31T09:00:00+01:00}\n"

    assert parse(text, KINDS)[0].resource.policy.suspend_until.ToJsonString() == "2027-01-31T08:00:00Z"
    assert "with its zone" in problems(text.replace("+01:00", ""))[0]


def test_reads_many_documents_and_skips_empty_ones() -> None:
    text = file_spec("") + "---\n---\n# nothing\n---\n" + file_spec("").replace("{name: a}", "{name: b}")

    assert [document.resource.metadata.name for document in parse(text, KINDS)] == ["a", "b"]


def test_reads_yaml_and_json_alike() -> None:
    value = {"kind": "File", "metadata": {"name": "a"}, "spec": {"path": "/ä", "content": '\U0001f600\t"\\/'}}
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False), json.dumps(value, indent="\t")):
        for file in ("a.json", "<stdin>", "a.yaml"):
            (found,) = specs(text, file)
            assert (found.path, found.content) == ("/ä", '\U0001f600\t"\\/')


def test_a_list_of_wrapped_values_may_be_written_as_a_list() -> None:
    text = "kind: Mount\nmetadata: {name: a}\nspec: {mount_point: /mnt, source: tmpfs, options: %s}\n"

    for options in ("[noatime, size=1m]", "{values: [noatime, size=1m]}"):
        assert list(specs(text % options)[0].options.values) == ["noatime", "size=1m"]
    empty = specs(text % "[]")[0]
    assert empty.HasField("options"), "an empty list is managed"
    assert not specs(text % "null")[0].HasField("options"), "null is unmanaged"


def test_merge_keys_and_aliases_are_understood() -> None:
    text = """
base: &base
"""
    text = """
kind: VirtualMachine
metadata: {name: a}
spec:
  disks:
  - &disk {target: vda, path: /a, size: 1GiB}
  - {<<: *disk, target: vdb, path: /b}
"""
    first, second = specs(text)[0].disks

    assert (second.target, second.path, second.size) == ("vdb", "/b", first.size)


MISTAKES = [
    ("contnt: x", "m.yaml:5:3: unknown field 'contnt' in File; did you mean content?"),
    ("owner: 5", "m.yaml:5:10: owner takes a text, not the number 5"),
    ("owner: true", "m.yaml:5:10: owner takes a text, not the boolean true"),
    ("owner: no", 'm.yaml:5:10: owner takes a text; YAML 1.1 reads no as a boolean: write "no" with quotes'),
    ("content: 1.10", "m.yaml:5:12: content takes a text, not the number 1.10"),
    ("content: 12:30", "m.yaml:5:12: content takes a text, not the number 12:30"),
    ("owner: [a]", "m.yaml:5:10: owner takes a text, not a list"),
    ("content: {a: b}", "m.yaml:5:12: content takes a text, not a mapping"),
    ("mode: 0644", 'm.yaml:5:9: mode takes a quoted mode: write "0644"'),
    ("mode: 644", "m.yaml:5:9: mode takes a quoted mode"),
    ("mode: 0o644", "m.yaml:5:9: mode takes a quoted mode"),
    ('mode: "rw-r--r--"', "m.yaml:5:9: mode can't be read: 'rw-r--r--'"),
    ('mode: "0888"', "m.yaml:5:9: mode can't be read"),
    ("mode: -1", "m.yaml:5:9: mode"),
    ("directory: yes", "m.yaml:5:14: directory takes true or false; yes is a boolean only in YAML 1.1"),
    ('directory: "true"', "m.yaml:5:14: directory takes true or false (without quotes)"),
    ("directory: 1", "m.yaml:5:14: directory takes true or false, not the number 1"),
    ("data: '%%%'", "m.yaml:5:9: data takes bytes written in base64"),
    ("path: /b", "m.yaml:5:3: the key 'path' stands here twice, first at 4:3"),
    ("owner: 'a b'", "m.yaml:5:10: owner the value 'a b' does not match"),
    ('symlink: "a\\0b"', "m.yaml:5:12: symlink contains the control character U+0000"),
    ("apiVersion: v1", "m.yaml:5:3: unknown field 'apiVersion' in File; it has"),
]


@pytest.mark.parametrize(("body", "expected"), MISTAKES)
def test_a_mistake_is_told_with_its_place(body: str, expected: str) -> None:
    (found,) = problems(file_spec(body))

    assert found.startswith(expected)


VM_MISTAKES = [
    ("cpus: two", "cpus takes a whole number, not the text 'two'"),
    ("cpus: '2'", "cpus takes a number: write 2 without quotes"),
    ("cpus: 2.5", "cpus takes a whole decimal number, not 2.5"),
    ("cpus: 010", "cpus takes a decimal number without leading zeros"),
    ("cpus: 0x10", "cpus takes a whole decimal number, not 0x10"),
    ("cpus: -1", "cpus takes 0 to 4294967295, not -1"),
    ("cpus: 99999999999999999999999", "cpus takes 0 to 4294967295"),
    ("cpus: " + "9" * 5000, "cpus takes a whole decimal number"),
    ("cpus: 0", "cpus must be at least 1, is 0"),
    ("memory: -5", "memory can't be read: '-5' is negative"),
    ("memory: '-5'", "memory can't be read: '-5' is negative"),
    ("memory: 512Mib", "memory can't be read: '512Mib' is ambiguous"),
    ("memory: lots", "memory can't be read: 'lots' is not a size"),
    ("memory: 1e400", "memory takes decimal digits"),
    ("memory: .inf", "memory"),
    ("memory: [1]", "memory takes a quantity, not a list"),
    ("firmware: EFI", "firmware takes one of BIOS, UEFI, not the text 'EFI'; did you mean UEFI?"),
    ("firmware: UNSPECIFIED", "firmware takes one of BIOS, UEFI"),
    ("firmware: 1", "firmware takes one of BIOS, UEFI"),
    ("disks: {target: vda}", "disks takes a list, not a mapping"),
    ("disks: [vda]", "disks takes a mapping of fields, not the text 'vda'"),
    ("disks: [~]", "disks has an element without a value"),
    ("disks: [{path: /a}]", "disks[0].target must be set"),
    ("disks: [{target: 5}]", "target takes a text, not the number 5"),
    ("labels: [a]", "labels takes a mapping, not a list"),
    ("labels: {a: 1}", "labels takes a text, not the number 1"),
    ("labels: {a: }", "a in labels has no value"),
    ("boot: {order: [hd, moon]}", "order takes one of HD, NETWORK, CDROM, FLOPPY"),
    ("graphics: vnc", "graphics takes a mapping of fields"),
    ("cloud_init: {user_data: '********'}", "user_data is masked here: write the value itself"),
]


@pytest.mark.parametrize(("body", "expected"), VM_MISTAKES)
def test_a_mistake_in_a_machine_is_told(body: str, expected: str) -> None:
    (found,) = problems(vm_spec(body))

    assert found.partition(": ")[2].startswith(expected)
    assert found.startswith("m.yaml:4:")


def test_all_mistakes_of_all_documents_are_told_in_the_order_of_the_text() -> None:
    text = """
kind: File
metadata: {name: motd, nam: 3}
spec: {path: 12, mode: 0644}
---
kind: VirtualMachin
metadata: {name: -rf}
---
metadata: {}
---
- kind: File
- just a text
---
kind: VirtualMachine
metadata: {name: web}
spec: {cpus: two, memory: 3, disks: [{target: vda, size: -3}]}
policy: {drift: observ, depends_on: [{kind: Fil, name: x}, {name: z}]}
---
kind: VirtualMachine
metadata: {name: web}
spec: {}
bad: true
"""
    expected = [
        (3, 24, "unknown field 'nam'"),
        (4, 14, "path takes a text"),
        (4, 24, "mode takes a quoted"),
        (6, 7, "unknown kind 'VirtualMachin'; did you mean VirtualMachine?"),
        (7, 18, "'-rf' is no name"),
        (9, 1, "kind is missing"),
        (9, 11, "metadata.name is missing"),
        (11, 3, "metadata.name is missing"),
        (11, 3, "path must be set"),
        (12, 3, "a resource is a mapping"),
        (16, 14, "cpus takes"),
        (16, 27, "memory must be at least 1MiB"),
        (16, 58, "size can't be read"),
        (17, 17, "drift takes one of ENFORCE, OBSERVE"),
        (17, 45, "unknown kind 'Fil'; did you mean File?"),
        (17, 60, "depends_on takes a kind and a name"),
        (20, 18, "VirtualMachine web stands in the manifests twice, first at m.yaml:15:18"),
        (22, 1, "unknown field 'bad'"),
    ]
    with pytest.raises(ManifestError) as caught:
        parse(text, KINDS, file="m.yaml")
    found = caught.value.problems

    assert [(p.line, p.column) for p in found] == [(line, column) for line, column, _ in expected]
    for problem, (_, _, start) in zip(found, expected, strict=True):
        assert problem.message.startswith(start)
    assert "18 problems in the manifests; nothing was applied" in caught.value.message
    assert len(caught.value.violations) == 18


def test_the_same_name_in_two_files_is_told_with_both_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(file_spec(""))
    (tmp_path / "b.yml").write_text(file_spec(""))

    with pytest.raises(ManifestError) as caught:
        load([str(tmp_path)], KINDS)

    (problem,) = caught.value.problems
    assert str(problem).startswith(f"{tmp_path}/b.yml:2:18: File a stands in the manifests twice")
    assert problem.message.endswith(f"first at {tmp_path}/a.yaml:2:18")


def test_what_get_prints_can_be_applied_again() -> None:
    item = {
        "kind": "File",
        "metadata": {
            "name": "a",
            "uid": "u",
            "generation": 3,
            "revision": 9,
            "etag": "9",
            "key": "/a",
            "create_time": "2026-01-01T00:00:00Z",
            "finalizers": ["x"],
            "apply_set": "s",
        },
        "spec": {"path": "/a", "mode": "0644"},
        "status": {"conditions": [{"type": "Ready", "anything": 1}]},
    }
    (document,) = parse(json.dumps({"items": [item]}), KINDS)

    assert document.resource.metadata.etag == "9"
    assert not document.resource.metadata.uid
    assert not document.resource.HasField("status")


def test_secrets_come_back_for_the_tokens_that_stand_for_them() -> None:
    text = vm_spec('cloud_init: {user_data: "********1"}')

    (document,) = parse(text, KINDS, secrets={"********1": "#cloud-config\n"})

    assert spec(document).cloud_init.user_data == "#cloud-config\n"


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ("spec.disks[1].size", 8, 11),
        ("spec.disks[vdb].size", 8, 11),
        ("spec.disks[1].bus", 7, 5),
        ("spec.labels[a/b]", 9, 12),
        ('spec.labels["a/b"]', 9, 12),
        ("spec.nothing", 3, 1),
        ("metadata.name", 2, 18),
        ("metadata.labels[x]", 2, 1),
        ("kind", 1, 7),
        ("", 1, 1),
        ("spec.disks[9].size", 4, 3),
        ("!!", 1, 1),
    ],
)
def test_finds_the_place_of_a_field(path: str, line: int, column: int) -> None:
    text = """kind: VirtualMachine
metadata: {name: web}
spec:
  disks:
  - target: vda
    path: /a
  - target: vdb
    size: 1GiB
  labels: {a/b: c}
"""
    document = parse(text, KINDS, file="m.yaml")[0]

    assert document.position(path)[1:] == (line, column)


def test_reads_a_thousand_documents_fast_enough() -> None:
    text = "---\n".join(
        f"kind: File\nmetadata: {{name: f{n}}}\nspec:\n  path: /etc/f{n}\n  mode: '0644'\n"
        for n in range(1_000)
    )
    start = time.perf_counter()

    assert len(parse(text, KINDS)) == 1_000
    assert time.perf_counter() - start < 10, "something is quadratic"


_WORDS = st.sampled_from(
    [
        "kind",
        "File",
        "VirtualMachine",
        "metadata",
        "name",
        "spec",
        "path",
        "disks",
        "items",
        "labels",
        "policy",
        "-",
        ":",
        "? ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\n",
        "\n  ",
        "---\n",
        "...",
        "&a ",
        "*a",
        "<<",
        "!!str ",
        "!x ",
        '"',
        "'",
        "|",
        ">",
        "#",
        "%",
        "@",
        "`",
        "\t",
        "0644",
        "1e9",
        "~",
        "yes",
        "\u2028",
        "\ufeff",
        "\x85",
        "512MiB",
        "\\",
        "\x00",
        "null",
        ".nan",
        "********",
    ]
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.text(), st.lists(_WORDS, max_size=40).map("".join), st.lists(_WORDS, max_size=40).map(" ".join)
    )
)
@example("kind: File\nmetadata: &a {labels: *a}\n")
@example("? [a]\n: b\n")
@example("{*a : b}")
@example("<<: 3\nkind: File")
@example('{"kind": "\\ud800"}')
@example("{" * 5_000)
@example("- " * 5_000)
@example("%TAG ! x\n--- !y\n")
def test_hostile_text_is_read_or_refused_never_more(text: str) -> None:
    for file in ("a.yaml", "a.json"):
        try:
            documents = parse(text, KINDS, file=file)
        except ManifestError as error:
            assert error.problems
            assert all(problem.file == file for problem in error.problems)
            str(error).encode()
        else:
            for document in documents:
                document.position("spec.disks[0].size")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_hostile_bytes_are_read_or_refused_never_more(raw: bytes) -> None:
    try:
        load(["-"], KINDS, stdin=io.BytesIO(raw))
    except ManifestError as error:
        assert error.problems
