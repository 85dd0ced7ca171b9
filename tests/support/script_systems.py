"""A NixOS host in a folder whose systems are shell scripts in a real Nix store: they do on demand what systems do."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from services.system.drivers.guard_control import Windows
from services.system.drivers.nixos import NixosDriver
from services.system.generation.models import Mode, Window, Wish

_SCRIPT = """#!/bin/sh
self=$(readlink -f "$0"); self=${{self%/bin/switch-to-configuration}}
root={root}
exec 9>>"$root/run/nixos/switch-to-configuration.lock"
flock -n 9 || {{ echo "Could not acquire lock" >&2; exit 1; }}
echo "$1 $self" >>"$root/actions"
link() {{ ln -s "$self" "$1.$$" && mv -T "$1.$$" "$1"; }}
code=0
case $1 in
dry-activate)
  echo "would stop the following units: old.service, gone.service" >&2
  echo "would start the following units: new.service" >&2 ;;
test|switch)
  sleep {sleep}
  echo "activating the configuration..." >&2
  code={code}
  case $code in 0|4) link "$root/run/current-system" ;; esac ;;
esac
case $1 in
boot|switch)
  code={boot}
  [ $code = 0 ] && link "$root/boot/default" ;;
esac
exit $code
"""


_FLAKE = """{{
  inputs.nixcc-desired.url = "path:{desired}";
  outputs = {{ self, nixcc-desired }}: {{
    nixosConfigurations.{name}.config.system.build.toplevel = derivation {{
      name = "nixos-system-{name}";
      system = "{system}";
      builder = "/bin/sh";
      args = [ "-c" ''
        export PATH=/usr/bin:/bin
        content=$(cat ${{./content}})
        if [ "$content" = fails ]; then echo "the builder does not like it" >&2; exit 1; fi
        mkdir -p $out/bin $out/etc/nixcc
        cp ${{nixcc-desired}}/desired.json $out/etc/nixcc/desired.json
        cp ${{./switch}} $out/bin/switch-to-configuration
        chmod +x $out/bin/switch-to-configuration
        echo "26.05.$content" >$out/nixos-version
      '' ];
    }};
  }};
}}
"""


class ScriptHost:
    """`root` is the host; `environment` makes Nix use a store below it (applied to this process by `monkeypatch`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.state = folder / "state"
        self.environment = {
            "NIX_STORE_DIR": str(folder / "store"),
            "NIX_STATE_DIR": str(self.root / "nix/var/nix"),
            "NIX_LOG_DIR": str(folder / "nix-log"),
            "NIX_CONF_DIR": str(folder / "conf"),
            "NIX_REMOTE": "",
            "NIX_CONFIG": "build-users-group =\nsandbox = false\nsubstituters =\n"
            "experimental-features = nix-command flakes",
            "HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        for part in ("etc", "boot", "run/nixos", "nix/var/nix/profiles", "nix/var/nix/gcroots"):
            (self.root / part).mkdir(parents=True)
        for part in ("home", "conf", "state"):
            (folder / part).mkdir()
        (self.root / "etc/NIXOS").touch()
        self.driver = NixosDriver(self.root)
        self.windows = Windows(self.state, self.root, self.driver.profile)

    def system(
        self, name: str, *, code: int = 0, boot: int = 0, sleep: float = 0, script: bool = True, **files: str
    ) -> str:
        """A toplevel whose `test` ends with `code` and whose `boot` with `boot`; its path."""
        toplevel = self.tree(name, code=code, boot=boot, sleep=sleep, script=script)
        for file, text in files.items():
            (toplevel / file.replace("__", "-")).write_text(text)
        return self.add(toplevel)

    def tree(self, name: str, *, code: int = 0, boot: int = 0, sleep: float = 0, script: bool = True) -> Path:
        """As `system`, not in the store yet."""
        toplevel = self.folder / f"nixos-system-{name}"
        (toplevel / "bin").mkdir(parents=True)
        (toplevel / "nixos-version").write_text(f"26.05.{name}\n")
        (toplevel / "kernel").symlink_to("/vmlinuz")
        if script:
            path = toplevel / "bin/switch-to-configuration"
            path.write_text(_SCRIPT.format(root=self.root, sleep=sleep, code=code, boot=boot))
            path.chmod(0o755)
        return toplevel

    def add(self, tree: Path) -> str:
        """Its path in the store."""
        return self.nix("nix-store", "--add", str(tree)).strip()

    def flake(self, *, content: str = "one", code: int = 0, name: str = "web") -> Path:
        """A flake whose configuration is such a system, made from `content` and from the input nixcc-desired."""
        folder = self.folder / "flake"
        folder.mkdir(exist_ok=True)
        (folder / "flake.nix").write_text(
            _FLAKE.format(
                desired=self.folder / "state/system/desired", system=f"{platform.machine()}-linux", name=name
            )
        )
        (folder / "content").write_text(content)
        script = _SCRIPT.format(root=self.root, sleep=0, code=code, boot=0)
        (folder / "switch").write_text(script)
        return folder

    def install(self, toplevel: str) -> str:
        """As an installer does: a generation, booted and running."""
        self.nix("nix-env", "-p", str(self.driver.profile), "--set", toplevel)
        for link in ("run/current-system", "run/booted-system", "boot/default"):
            path = self.root / link
            path.unlink(missing_ok=True)
            path.symlink_to(toplevel)
        return toplevel

    def nix(self, *argv: str) -> str:
        """Runs Nix; its output."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout

    def open(self, new: str, *, mode: Mode = Mode.SWITCH, deadline: float = 60, **wish: object) -> Window:
        """Opens a window as the service does, without anybody to look after it."""
        driver = self.driver
        with self.windows.preparing():
            return self.windows.open(
                Wish(toplevel=new, mode=mode, deadline=deadline, **wish),  # type: ignore[arg-type]
                new=new,
                old=driver.running(),
                locked="",
                number=driver.number(),
                numbers=driver.numbers(),
                baseline=[],
            )

    @property
    def windows_of_daemon(self) -> Windows:
        """The journal of an `ncc serve` whose folder is this one."""
        return Windows(self.folder / "state/system/generation", self.root, self.driver.profile)

    def guard(self, state: Path | None = None) -> int:
        """The living guard's pid; 0: none."""
        folder = str(state or self.state).encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    line = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if b"guard_start.py" in line and folder in line.split(b"\0"):
                    return int(entry.name)
        return 0

    @property
    def running(self) -> str:
        return os.path.realpath(self.root / "run/current-system")

    @property
    def boot_default(self) -> str:
        return os.path.realpath(self.root / "boot/default")

    @property
    def actions(self) -> list[str]:
        """What the scripts were called for, such as `test b`."""
        try:
            lines = (self.root / "actions").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [f"{line.split()[0]} {line.rpartition('-')[2]}" for line in lines]
