from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import nixos_options
from services.hardware.drivers.linux import LinuxHardwareDriver
from services.hardware.drivers.names import Names
from services.hardware.models.inventory import QUICK_PARTS, Inventory

TREES = Path(__file__).parent / "trees"

Recorded = Callable[[str], Path]


def plant(root: Path, text: str) -> Path:
    """Makes a tree out of lines: `path = text`, `path -> link target`, `path : hex bytes`, `path/` a folder.

    `\\n` and `\\t` in a text are a line break and a tab; `@ folder` is put before the relative paths that follow.
    """
    folder = ""
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("@ "):
            folder = line[2:].strip()
            continue
        for mark in (" -> ", " = ", " : "):
            path, found, value = line.partition(mark)
            if found:
                break
        else:
            path, found, value = line, "/", ""
        target = root / (path if path.startswith("/") else f"{folder}/{path}").lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if found == "/":
            target.mkdir(parents=True, exist_ok=True)
        elif found == " -> ":
            target.symlink_to(value)
        elif found == " : ":
            target.write_bytes(bytes.fromhex(value))
        else:
            target.write_text(value.replace("\\n", "\n").replace("\\t", "\t") + "\n")
    return root


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """The recorded tree of that name, as a folder."""
    return lambda name: plant(tmp_path / name, (TREES / f"{name}.tree").read_text())


@pytest.fixture
def names(tmp_path: Path) -> Names:
    """A hardware database that is the same on every machine."""
    (tmp_path / "ids").mkdir()
    for name in ("pci.ids", "usb.ids"):
        (tmp_path / "ids" / name).write_text((TREES / name).read_text())
    return Names([str(tmp_path / "ids")], use_udev=False)


@pytest.fixture
def scan(recorded: Recorded, names: Names) -> Callable[[str], Inventory]:
    """The inventory of a recorded machine."""

    def scanned(name: str) -> Inventory:
        driver = LinuxHardwareDriver(recorded(name), names)
        try:
            return driver.scan(QUICK_PARTS)
        finally:
            driver.close()

    return scanned


class Loop:
    """An image file behind a loop device."""

    def __init__(self, image: Path, device: str) -> None:
        self.image, self.device = image, device


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Callable[..., Loop]]:
    """Makes loop devices that hold what a command (its last argument is the image) or bytes put there; needs root."""
    devices: list[str] = []

    def attach(*command: str, size: int = 32 << 20, script: str = "", partitions: bool = False) -> Loop:
        image = tmp_path / f"loop{len(devices)}.img"
        with open(image, "wb") as file:
            file.truncate(size)
        if command:
            subprocess.run([*command, str(image)], input=script.encode(), check=True, capture_output=True)
        argv = ["losetup", "--find", "--show", *(["--partscan"] if partitions else []), str(image)]
        device = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
        devices.append(device)
        if partitions and not Path(f"{device}p1").exists():
            # This kernel reads no partition tables by itself.
            subprocess.run(["partx", "--add", device], check=True)
        return Loop(image, device)

    yield attach
    for device in devices:
        subprocess.run(["partx", "--delete", device], check=False, capture_output=True)
        subprocess.run(["losetup", "--detach", device], check=False)


class Options:
    """NixOS's option index: does an option exist, and does a value fit its type?"""

    def __init__(self, rows: list[dict[str, str]]) -> None:
        self._types = {row["Name"]: html.unescape(row["Type"]) for row in rows}

    def check(self, value: object, *path: str) -> int:
        """Asserts it of every leaf below; gives how many options were checked."""
        name = self._name(path)
        kind = self._types.get(name)
        if isinstance(value, dict) and (kind is None or kind.startswith("attribute set of (submodule)")):
            return sum(self.check(inner, *path, key) for key, inner in value.items())
        assert kind is not None, f"NixOS has no option {'.'.join(path)}"
        if kind == "list of (submodule)":
            assert isinstance(value, list)
            return sum(self.check(inner[key], *path, "_", key) for inner in value for key in inner)
        assert self._fits(value, kind), f"{'.'.join(path)} is a {kind}, not {value!r}"
        return 1

    def _name(self, path: tuple[str, ...]) -> str:
        for known in (path, *((*path[:i], "_name_", *path[i + 1 :]) for i in range(1, len(path)))):
            if ".".join(known) in self._types:
                return ".".join(known)
        return ".".join(path)

    def _fits(self, value: object, kind: str) -> bool:
        if isinstance(value, bool):
            return "boolean" in kind
        if isinstance(value, int):
            return "integer" in kind and (value >= 0 or "unsigned" not in kind)
        if isinstance(value, list):
            return (
                "list of" in kind
                and all(isinstance(v, str) for v in value)
                and (bool(value) or "non-empty (" not in kind)
            )
        if pattern := re.search(r"matching the pattern (\S+)", kind):
            return re.fullmatch(pattern.group(1).replace("[[:print:]]", "[ -~]"), str(value)) is not None
        return (
            isinstance(value, str)
            and ("string" in kind or "path" in kind)
            and (bool(value) or "non-empty" not in kind)
        )


@pytest.fixture(scope="session")
def nixos() -> Options:
    """All options of NixOS."""
    if not nixos_options.LIST.exists():
        pytest.skip(nixos_options.MISSING)
    return Options(json.loads(nixos_options.LIST.read_bytes()))
