from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.hardware.drivers.mountinfo import mounts, swaps, unescape


def test_a_line_with_optional_fields_and_escapes() -> None:
    line = r"36 35 98:0 /my\040folder /mnt/a\011b\134c rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue"
    (entry,) = mounts(line)
    assert (entry.id, entry.major_minor, entry.root) == (36, "98:0", "/my folder")
    assert entry.mount_point == "/mnt/a\tb\\c"
    assert (entry.fs_type, entry.source) == ("ext3", "/dev/root")
    assert entry.all_options == ("rw", "noatime", "errors=continue")


def test_read_only_where_either_is() -> None:
    (entry,) = mounts("1 0 8:1 / / ro - ext4 /dev/sda1 rw")
    assert entry.all_options == ("ro",)
    (entry,) = mounts("1 0 0:5 / /mnt rw - nfs host:/x ro,vers=4.2")
    assert entry.all_options == ("ro", "vers=4.2")


def test_swap_with_blanks_in_its_name() -> None:
    text = "Filename Type Size Used Priority\n/my\\040swap file 1020 4 -2\n/old\\040(deleted) file 8 0 5\n"
    first, second = swaps(text)
    assert (first.path, first.size, first.used, first.priority) == ("/my swap", 1020 << 10, 4 << 10, -2)
    assert second.path == "/old (deleted)"


@given(st.text())
def test_any_text_ends(text: str) -> None:
    list(swaps(text))
    unescape(text)
    for line in text.splitlines():
        assert "\\040" not in unescape(line) or "\\134040" in line
