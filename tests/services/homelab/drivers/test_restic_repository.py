from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.errors import Forbidden, NotFound, WrongState
from services.homelab.drivers.restic_repository import Repository, masked


@pytest.fixture
def password(tmp_path: Path) -> Path:
    return _private(tmp_path / "password", "canary\n")


def _private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_the_address_is_in_a_private_file_while_it_is_needed(tmp_path: Path, password: Path) -> None:
    repository = Repository("rest:https://joe:hunter22@host/r", password)
    with repository.environment(tmp_path / "work") as (variables, secrets):
        path = Path(variables["RESTIC_REPOSITORY_FILE"])
        assert path.read_text() == "rest:https://joe:hunter22@host/r\n"
        assert path.stat().st_mode & 0o777 == 0o600
        assert "hunter22" not in "".join(variables.values())
        assert {"canary", "hunter22", "joe:hunter22"} <= set(secrets)
    assert not path.exists()


def test_names_and_passwords_of_addresses_are_masked() -> None:
    assert masked("rest:https://joe:hunter22@host/r") == "rest:https://********@host/r"
    assert masked("/srv/a@b") == "/srv/a@b"
    assert masked("rest:https://joe:p@ss@host/r") == "rest:https://********@host/r"
    assert (
        masked("rclone::s3,access_key_id=AK,secret_access_key='a b',region=x:bucket")
        == "rclone::s3,access_key_id=********,secret_access_key=********,region=x:bucket"
    )


def test_backends_variables_come_from_a_private_file(tmp_path: Path, password: Path) -> None:
    file = _private(
        tmp_path / "environment", "# keys\nAWS_ACCESS_KEY_ID=abcdefgh\nRESTIC_REST_PASSWORD=hunter22\n"
    )
    with Repository("s3:x/y", password, file).environment(tmp_path / "work") as (variables, secrets):
        assert variables["AWS_ACCESS_KEY_ID"] == "abcdefgh"
        assert {"abcdefgh", "hunter22"} <= set(secrets)
        assert variables["RESTIC_REST_PASSWORD"] == "hunter22"


@pytest.mark.parametrize("line", ["LD_PRELOAD=/x", "PATH=/x", "RESTIC_PASSWORD=x", "no variable"])
def test_other_variables_are_refused(tmp_path: Path, password: Path, line: str) -> None:
    file = _private(tmp_path / "environment", line)
    with (
        pytest.raises(WrongState, match="line 1"),
        Repository("/r", password, file).environment(tmp_path / "work"),
    ):
        pass


def test_password_files_must_be_there_private_and_filled(tmp_path: Path) -> None:
    for prepare, expected in (
        (lambda path: None, NotFound),
        (lambda path: _private(path, "\n"), WrongState),
        (lambda path: path.chmod(0o644), Forbidden),
    ):
        prepare(tmp_path / "p")
        with (
            pytest.raises(expected),
            Repository("/r", tmp_path / "p").environment(tmp_path / "work"),
        ):
            pass


def test_a_password_file_that_nobody_writes_into_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p", 0o600)
    with (
        pytest.raises(WrongState, match="is no file"),
        Repository("/r", tmp_path / "p").environment(tmp_path / "work"),
    ):
        pass


def test_passwords_are_masked_as_restic_reads_them(tmp_path: Path) -> None:
    file = _private(tmp_path / "p", "  canary \r\n")
    with Repository("/r", file).environment(tmp_path / "work") as (_, secrets):
        assert "canary" in secrets


def test_a_folder_with_other_things_is_no_place(tmp_path: Path, password: Path) -> None:
    place = tmp_path / "place"
    Repository(str(place), password).require_room()
    place.mkdir()
    Repository(str(place), password).require_room()
    (place / "photo").touch()
    with pytest.raises(WrongState, match="nothing was done"):
        Repository(str(place), password).require_room()
    (place / "config").touch()
    Repository(str(place), password).require_room()
