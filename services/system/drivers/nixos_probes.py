"""Checks whether what a new generation should do works: units, HTTP, TCP, DNS, programs."""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common import process
from common.errors import Cancelled, ControlError
from services.system.generation.models import Probe

# Seconds between two tries, and that one try may take.
_PAUSE, _TRY = 0.1, 5.0
_READ = 1024 * 1024

Active = Callable[[str], bool]


def run(probes: Sequence[Probe], active: Active, stop: Callable[[], bool]) -> list[str]:
    """Runs them side by side until each has passed or its time is over; gives a sentence for each that failed.

    `active` tells whether a systemd unit is; `stop`, asked between two tries, whether nobody wants to know any more:
    then Cancelled is raised.
    """
    failures: list[str] = []
    threads = [
        threading.Thread(target=_until, args=(probe, active, stop, failures), name=f"probe-{probe.name}")
        for probe in probes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if stop():
        raise Cancelled("the probes were cancelled")
    return sorted(failures)


def _until(probe: Probe, active: Active, stop: Callable[[], bool], failures: list[str]) -> None:
    deadline = time.monotonic() + probe.timeout
    while True:
        left = deadline - time.monotonic()
        try:
            why = once(probe, active, max(0.1, min(left, _TRY)))
        except ControlError as error:
            why = error.message
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = str(error) or type(error).__name__
        if not why:
            return
        if time.monotonic() + _PAUSE >= deadline:
            failures.append(f"probe {probe.name}: {why}")
            return
        time.sleep(_PAUSE)  # what is probed gets a moment before it is asked again
        if stop():
            return


def once(probe: Probe, active: Active, timeout: float) -> str:
    """Why it fails now; empty: it passes. May raise OSError and ControlError, which are failures, too."""
    return _CHECKS[probe.sort](probe.arguments, active, timeout)


def _unit(arguments: Mapping[str, Any], active: Active, timeout: float) -> str:
    unit = arguments["unit"]
    return "" if active(unit) else f"{unit} is not active"


def _http(arguments: Mapping[str, Any], active: Active, timeout: float) -> str:
    url, wanted = arguments["url"], arguments.get("status") or 0
    request = urllib.request.Request(url, headers={"User-Agent": "nixcc-probe"})  # noqa: S310 - checked
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Straight())
    try:
        with opener.open(request, timeout=timeout) as response:
            status, body = response.status, response.read(_READ)
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read(_READ)
    except urllib.error.URLError as error:
        return f"{url}: {error.reason}"
    if (status != wanted) if wanted else not 200 <= status < 400:
        return f"{url} answers {status}" + (f" instead of {wanted}" if wanted else "")
    text = arguments.get("contains") or ""
    if text.encode() not in body:
        return f"{url} answers without {text!r}"
    return ""


class _Straight(urllib.request.HTTPRedirectHandler):
    """A redirection is an answer: whoever wants another page names it."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None: not followed."""
        return


def _tcp(arguments: Mapping[str, Any], active: Active, timeout: float) -> str:
    with socket.create_connection((arguments["host"], arguments["port"]), timeout):
        return ""


def _dns(arguments: Mapping[str, Any], active: Active, timeout: float) -> str:
    name, wanted = arguments["name"], arguments.get("address") or ""
    found = sorted({row[4][0] for row in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})
    if wanted and wanted not in found:
        return f"{name} is {', '.join(map(str, found))} instead of {wanted}"
    return ""


def _command(arguments: Mapping[str, Any], active: Active, timeout: float) -> str:
    done = process.run(list(arguments["argv"]), timeout=timeout, check=False)
    if done.exit_code == 0:
        return ""
    said = (done.stderr or done.stdout).decode(errors="replace").strip()[-200:]
    return f"{arguments['argv'][0]} ended with {done.exit_code}" + (f": {said}" if said else "")


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], Active, float], str]] = {
    "unit": _unit,
    "http": _http,
    "tcp": _tcp,
    "dns": _dns,
    "command": _command,
}
