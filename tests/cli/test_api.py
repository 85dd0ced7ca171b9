"""The API's own description: every element has its comment, and is found by its full name."""

from __future__ import annotations

from cli.api import comment, comments, files


def test_files_come_after_what_they_import() -> None:
    seen: set[str] = set()
    for file in files().file:
        assert set(file.dependency) <= seen, file.name
        seen.add(file.name)


def test_every_element_of_ours_has_a_comment() -> None:
    missing = [
        f"{file.package}.{message.name}.{field.name}"
        for file in files().file
        if file.package.startswith("nixcc.")
        for message in file.message_type
        for field in message.field
        if not comment(f"{file.package}.{message.name}.{field.name}")
    ]
    assert missing == []


def test_comments_by_full_name() -> None:
    assert comment("nixcc.system.v1.File.path").endswith(".")
    assert comment("nixcc.state.v1.StateService.Apply")
    assert comment("nixcc.resource.v1.DRIFT_POLICY_OBSERVE") or comment(
        "nixcc.resource.v1.DriftPolicy.DRIFT_POLICY_OBSERVE"
    )
    assert comment("nixcc.none") == ""
    assert "\n" not in comment("nixcc.system.v1.File")
    assert any("\n" in text for text in comments().values())
