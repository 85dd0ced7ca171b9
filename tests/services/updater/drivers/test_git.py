"""Commits of the lock file into repositories that people work in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import Forbidden
from services.updater.drivers.git import Repository
from updater_flakes import git

pytestmark = pytest.mark.host


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[..., None]) -> Path:
    """A repository with flake.nix, flake.lock and another file, all committed."""
    require(binary="git")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    made = tmp_path / "flake"
    made.mkdir()
    git(made, "init", "-q")
    for name in ("flake.nix", "flake.lock", "other"):
        (made / name).write_text("1\n")
    git(made, "add", ".")
    git(made, "commit", "-q", "-m", "first")
    return made


def around(folder: Path) -> Repository:
    found = Repository.around(folder)
    assert found is not None
    return found


def committed(folder: Path) -> list[str]:
    """Files of the last commit."""
    return git(folder, "show", "--format=", "--name-only", "HEAD").splitlines()


def test_no_repository(tmp_path: Path, folder: Path) -> None:
    assert Repository.around(tmp_path) is None


def test_only_the_lock_file_and_as_ourselves(folder: Path) -> None:
    (folder / "flake.lock").write_text("2\n")
    (folder / "other").write_text("staged\n")
    git(folder, "add", "other")
    (folder / "flake.nix").write_text("not staged\n")
    (folder / "new").write_text("untracked\n")
    made = around(folder).commit("flake.lock: update a\n\na: x → y\n")
    assert made == (git(folder, "rev-parse", "HEAD"), "")
    assert committed(folder) == ["flake.lock"]
    assert git(folder, "status", "--porcelain").splitlines() == [
        "M flake.nix",  # the helper strips the first column's blank
        "M  other",
        "?? new",
    ]
    assert git(folder, "log", "-1", "--format=%an|%B").startswith(
        "NixOS Control Center|flake.lock: update a\n\na: x → y"
    )
    assert git(folder, "show", "HEAD:flake.lock") == "2"


def test_same_again_is_no_commit(folder: Path) -> None:
    assert around(folder).commit("nothing").revision == ""


def test_first_lock_file(folder: Path) -> None:
    git(folder, "rm", "-q", "--cached", "flake.lock")
    git(folder, "commit", "-q", "-m", "no lock file")
    assert around(folder).commit("lock").revision
    assert committed(folder) == ["flake.lock"]


def test_lock_file_that_is_removed(folder: Path) -> None:
    (folder / "flake.lock").unlink()
    assert around(folder).commit("gone").revision
    assert git(folder, "ls-files", "flake.lock") == ""
    assert around(folder).commit("gone").revision == ""


def test_hooks_and_signing_of_the_owner_do_not_run(folder: Path) -> None:
    hook = folder / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    git(folder, "config", "commit.gpgSign", "true")
    (folder / "flake.lock").write_text("2\n")
    assert around(folder).commit("x").revision


def test_flake_below_the_top(folder: Path) -> None:
    below = folder / "hosts/a b"
    below.mkdir(parents=True)
    (below / "flake.nix").write_text("1\n")
    (below / "flake.lock").write_text("1\n")
    git(folder, "add", ".")
    repository = around(below)
    assert (repository.top, repository.folder) == (folder, "hosts/a b")
    assert repository.commit("x").revision
    assert committed(folder) == ["hosts/a b/flake.lock"]
    assert {"flake.nix", "hosts/a b/flake.nix", "other"} <= set(repository.files())


@pytest.mark.parametrize("staged", [False, True])
def test_changes_of_the_owner_in_the_lock_file(folder: Path, staged: bool) -> None:
    (folder / "flake.lock").write_text("2\n")
    if staged:
        git(folder, "add", "flake.lock")
    text, help_ = around(folder).obstacle()
    assert "not committed" in text
    assert "git restore" in help_


def test_other_changes_are_no_obstacle(folder: Path) -> None:
    (folder / "other").write_text("2\n")
    git(folder, "add", "other")
    (folder / "flake.nix").write_text("2\n")
    assert around(folder).obstacle() == ("", "")


def test_detached_head(folder: Path) -> None:
    git(folder, "switch", "-q", "--detach")
    assert "detached HEAD" in around(folder).obstacle()[0]


def test_unfinished_merge(folder: Path) -> None:
    git(folder, "switch", "-q", "-c", "side")
    (folder / "other").write_text("side\n")
    git(folder, "commit", "-q", "-a", "-m", "side")
    git(folder, "switch", "-q", "main")
    (folder / "other").write_text("main\n")
    git(folder, "commit", "-q", "-a", "-m", "main")
    with pytest.raises(Exception, match="exit status 1"):
        git(folder, "merge", "side")
    assert around(folder).obstacle() == (
        f"{folder} is in the middle of a merge",
        "finish it, or git merge --abort",
    )


def test_ignored_lock_file_is_left_alone(folder: Path) -> None:
    git(folder, "rm", "-q", "--cached", "flake.lock")
    (folder / ".gitignore").write_text("flake.lock\n")
    made = around(folder).commit("x")
    assert (made.revision, "git ignores" in made.warning) == ("", True)


def test_repository_of_somebody_else(folder: Path, require: Callable[..., None]) -> None:
    require(root=True)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 12345, 12345)
    with pytest.raises(Forbidden, match="git distrusts") as caught:
        Repository.around(folder)
    assert "safe.directory" in caught.value.next_step


def test_trusted_repository_of_somebody_else_is_not_written_to(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[..., None]
) -> None:
    require(root=True)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 12345, 12345)
    (tmp_path / "config").write_text("[safe]\ndirectory = *\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    (folder / "flake.lock").write_text("2\n")
    made = around(folder).commit("x")
    assert (made.revision, "belongs to another user" in made.warning) == ("", True)
