"""The main job once, for real: manifests in, a host that is so, and drift put back by itself.

Nothing of this machine is touched: files go under a sandbox root, machines into libvirt's built-in test driver. That
driver lives in the process that opened it, so the control plane runs in this one; `ncc` runs as its own process.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ["NCC_VM_URI"] = URI = "test:///default"

from common import daemon  # noqa: E402 - the driver is chosen by the environment
from common.settings import ServeSettings  # noqa: E402
from common.telemetry import configure_logging  # noqa: E402

PATIENCE = 30.0


class NotSeen(Exception):
    """Something the demo claims did not happen."""


async def main() -> int:
    """0 when all that it shows was seen."""
    configure_logging("error")
    folder = Path(tempfile.mkdtemp(prefix="nixcc-demo-"))
    settings = ServeSettings(state_dir=folder / "state", socket=folder / "nixcc.sock", root=folder / "root")
    settings.root.mkdir()
    os.environ["NCC_SOCKET"] = str(settings.socket)
    started = time.monotonic()
    try:
        async with AsyncExitStack() as stack:
            names = (*daemon.services(), *daemon.daemons())
            await daemon.start(settings, names, stack)
            say(f"the control plane runs: {', '.join(names)}")
            return await show(settings.root, started)
    except NotSeen as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def show(root: Path, started: float) -> int:
    """Applies the examples, breaks what they made, and times how it is healed."""
    machines = await available("VirtualMachine")
    examples = [ROOT / "examples/site.yaml", *([ROOT / "examples/machine.yaml"] if machines else [])]
    arguments = [argument for path in examples for argument in ("-f", str(path))]
    say(f"ncc apply {' '.join(f'-f examples/{path.name}' for path in examples)} --wait")
    print(indented(await ncc("apply", *arguments, "--wait", "--timeout", "30s")))
    page, motd = root / "srv/site/index.html", root / "etc/motd"
    for path in (page, motd, root / "srv/current"):
        if not (path.is_symlink() or path.exists()):
            raise NotSeen(f"{path} is not there after apply --wait said that all is ready")
    say("ncc get")
    print(indented(await ncc("get")))
    if await ncc("diff", *arguments) == "":
        raise NotSeen("ncc diff printed nothing")

    healed: list[tuple[str, float]] = []
    content = motd.read_bytes()
    healed.append(
        ("a file edited", await heal(lambda: motd.write_text("hacked\n"), lambda: read(motd) == content))
    )
    page_content = page.read_bytes()
    healed.append(("a file deleted", await heal(page.unlink, lambda: read(page) == page_content)))
    healed.append(
        ("a file made writable for all", await heal(lambda: motd.chmod(0o666), lambda: mode(motd) == 0o644))
    )
    link = root / "srv/current"

    def repoint() -> None:
        link.unlink()
        link.symlink_to("/etc/passwd")

    healed.append(("a link pointed elsewhere", await heal(repoint, lambda: target(link) == "site")))
    if machines:
        import libvirt

        connection = libvirt.open(URI)
        domain = connection.lookupByName("web")
        healed.append(
            ("a machine stopped through libvirt", await heal(domain.destroy, lambda: domain.isActive() == 1))
        )

        def undefine() -> None:
            domain.destroy()
            domain.undefine()

        # Whatever the loop still writes about the last one must not meet the next one.
        await ncc("reconcile", "--wait")
        healed.append(
            ("a machine deleted through libvirt", await heal(undefine, lambda: runs(connection, "web")))
        )
    say("what was changed behind its back, and how soon it was put back")
    for what, seconds in healed:
        print(f"    {what:<36}{seconds * 1e3:8.1f} ms")
    say("ncc events")
    print(indented(await ncc("events")))
    say("ncc delete -f examples/site.yaml --wait")
    print(indented(await ncc("delete", "-f", str(ROOT / "examples/site.yaml"), "--wait")))
    if page.exists() or motd.exists():
        raise NotSeen("files are still there after their resources were deleted")
    print(
        f"\nOK: {len(healed)} changes healed, the slowest in {max(s for _, s in healed) * 1e3:.0f} ms; "
        f"{time.monotonic() - started:.1f} s in all."
        + (
            ""
            if machines
            else "\nMachines were left out: the vm service is not available (see `make setup`)."
        )
    )
    return 0


async def heal(break_it: Callable[[], object], is_well: Callable[[], bool]) -> float:
    """Breaks something and gives the seconds until it is well again; raises NotSeen when it stays broken."""
    await asyncio.to_thread(break_it)
    start = time.perf_counter()
    while not is_well():
        if time.perf_counter() - start > PATIENCE:
            raise NotSeen(f"not healed within {PATIENCE:.0f} s")
        await asyncio.sleep(0.0005)
    return time.perf_counter() - start


async def available(kind: str) -> bool:
    """Whether this host can have the kind; waits until the services were seen."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        text = await ncc("doctor", "-o", "json", fine=(0, 1))
        if "does not answer at" not in text and "not connected" not in text:
            return f'"kind {kind}"' not in text
        await asyncio.sleep(0.1)
    raise NotSeen("the services did not come up")


async def ncc(*arguments: str, fine: tuple[int, ...] = (0, 3)) -> str:
    """Runs the command line as its users do; gives what it printed."""
    program = Path(sys.executable).parent / "ncc"
    process = await asyncio.create_subprocess_exec(
        str(program), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode not in fine:
        raise NotSeen(f"ncc {' '.join(arguments)} ended with {process.returncode}: {err.decode().strip()}")
    return out.decode()


def read(path: Path) -> bytes:
    """The file's content; empty where it is absent."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def mode(path: Path) -> int:
    """The permission bits."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return -1


def target(link: Path) -> str:
    """Where the link points; empty where it is absent."""
    try:
        return os.readlink(link)
    except OSError:
        return ""


def runs(connection: object, name: str) -> bool:
    """Whether libvirt has the machine, running."""
    domains = connection.listAllDomains()  # type: ignore[attr-defined]
    return any(d.name() == name and d.isActive() and d.isPersistent() for d in domains)


def say(text: str) -> None:
    """A headline."""
    print(f"\n● {text}", flush=True)


def indented(text: str) -> str:
    """Output of a command, moved in."""
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
