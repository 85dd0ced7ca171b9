"""Images of an engine that speaks docker's API."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from common.errors import Cancelled, ControlError, Forbidden, HostUnavailable, InvalidRequest, NotFound
from services.homelab.drivers import image_archives
from services.homelab.drivers.base import Json, Report
from services.homelab.drivers.docker_calls import Calls, explained
from services.homelab.references import familiar, split_tag

# What engines say where a registry can't be reached.
_AWAY = (
    "timeout",
    "connection refused",
    "connection reset",
    "no such host",
    "server misbehaving",
    "network is unreachable",
    "no route to host",
    "dial tcp",
    "eof",
    "x509",
    "tls:",
    "http response to https client",
    "deadline exceeded",
)
# Seconds without a word from the engine while it pulls or loads.
_SILENCE = 120.0
# Seconds that a registry may take to tell a digest.
_REGISTRY = 30.0
# Seconds until a registry that has had enough is asked again.
_RATE = 900.0
_REGISTRY_UP = "see whether the network and the registry are up"
_HUB = "https://index.docker.io/v1/"


class DockerImages:
    """See Images."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> Sequence[Json]:
        """See Images."""
        found: list[Json] = self._calls.json("GET", "/images/json")
        return found

    def inspect(self, reference: str) -> Json | None:
        """See Images."""
        try:
            found: Json = self._calls.json("GET", "/images/{0}/json", reference)
        except NotFound:
            return None
        return found

    def pull(
        self,
        reference: str,
        report: Report,
        *,
        credentials_file: Path | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        """See Images."""
        name, tag = split(reference)
        layers: dict[str, tuple[int, int]] = {}
        best = 0
        told = self._told(
            "/images/create", {"fromImage": name, "tag": tag}, _authorisation(name, credentials_file)
        )
        with closing(told):
            for row in told:
                if cancel is not None and cancel.is_set():
                    raise Cancelled(f"the pull of {reference} was cancelled")
                layer, status = str(row.get("id", "")), str(row.get("status", ""))
                detail = row.get("progressDetail") or {}
                if status == "Downloading" and detail.get("total"):
                    layers[layer] = (detail.get("current", 0), detail["total"])
                elif layer in layers and status in ("Download complete", "Pull complete"):
                    layers[layer] = (layers[layer][1], layers[layer][1])
                if layers:
                    done, total = (sum(column) for column in zip(*layers.values(), strict=True))
                    best = max(best, min(99, done * 100 // max(1, total)))
                report(f"{layer} {status}".strip(), best if layers else None)

    def load(self, archive: Path, report: Report, wanted: str = "") -> Sequence[str]:
        """See Images."""
        names = image_archives.names(archive)
        if wanted and names is not None and familiar(wanted) not in map(familiar, names):
            raise _lacks(archive, names, wanted)
        found = []
        with image_archives.opened(archive) as file:
            for row in self._told("/images/load", {}, {"Content-Type": "application/x-tar"}, file):
                text = str(row.get("stream", ""))
                report(text.strip() or f"loading {archive}", None)
                if text.startswith("Loaded image: "):
                    found.append(text.removeprefix("Loaded image: ").strip())
        if not found or (wanted and familiar(wanted) not in map(familiar, found)):
            raise _lacks(archive, found, wanted)
        return found

    def import_rootfs(self, archive: Path, reference: str, command: Sequence[str], report: Report) -> None:
        """See Images."""
        name, tag = split(reference)
        # All in `repo`: podman passes over `tag` here, and would give the image to `latest`.
        params: dict[str, Any] = {"fromSrc": "-", "repo": f"{name}:{tag}"}
        if command:
            params["changes"] = f"CMD {json.dumps([*command])}"
        with image_archives.opened(archive) as file:
            for row in self._told("/images/create", params, {"Content-Type": "application/x-tar"}, file):
                report(str(row.get("status", "")), None)

    def remove(self, reference: str) -> None:
        """See Images."""
        try:
            self._calls.request("DELETE", "/images/{0}", reference)
        except NotFound:
            return

    def tag(self, image: str, reference: str) -> None:
        """See Images."""
        name, tag = split(reference)
        self._calls.request("POST", "/images/{0}/tag", image, params={"repo": name, "tag": tag})

    def registry_digest(self, reference: str, *, credentials_file: Path | None = None) -> str:
        """See Images."""
        headers = _authorisation(split(reference)[0], credentials_file)
        try:
            told = self._calls.json(
                "GET", "/distribution/{0}/json", reference, headers=headers, timeout=_REGISTRY
            )
        except ControlError as error:
            raise _registry(error, reference) from error
        return str(told["Descriptor"]["digest"])

    def _told(
        self, path: str, params: dict[str, Any], headers: dict[str, str], data: Any = None
    ) -> Generator[dict[str, Any]]:
        """The rows that the engine tells its progress by; raises what it tells of errors."""
        import requests

        try:
            answer = self._calls.request(
                "POST", path, params=params, headers=headers, data=data, timeout=_SILENCE, stream=True
            )
        except ControlError as error:
            raise self._told_error(error, params) from error
        try:
            with answer:
                for line in answer.iter_lines():
                    row = json.loads(line) if line.strip() else {}
                    if "error" in row:
                        raise self._told_error(explained(500, str(row["error"])), params)
                    yield row
        except requests.exceptions.RequestException as error:
            raise self._told_error(self._calls.lost(error, _SILENCE), params) from error

    def _told_error(self, error: ControlError, params: dict[str, Any]) -> ControlError:
        """Whose fault it is: the engine's, the registry's or the file's."""
        reference = str(params.get("fromImage", ""))
        if not reference:
            if type(error) is not ControlError:
                return error
            return InvalidRequest(
                f"the engine can't read the archive: {error.message}",
                next_step="make it anew, and copy all of it",
            )
        if isinstance(error, HostUnavailable):
            try:
                self._calls.request("GET", "/_ping", timeout=5.0)
            except ControlError:
                return error
            return HostUnavailable(
                f"the registry of {reference} says nothing: no word within {_SILENCE:.0f} s",
                retry_after=30.0,
                next_step=_REGISTRY_UP,
            )
        return _registry(error, reference)


def _lacks(archive: Path, held: Sequence[str], wanted: str) -> ControlError:
    if not held:
        return InvalidRequest(
            f"{archive} holds no image with a name", next_step="make it with docker save NAME"
        )
    return NotFound(
        f"{archive} holds {', '.join(held)}, not {wanted}",
        next_step="name one of these in reference, or save the right image",
    )


def split(reference: str) -> tuple[str, str]:
    """The name and the tag or digest, as the engine wants them; without one: `latest`."""
    name, _, digest = reference.partition("@")
    base, tag = split_tag(name)
    return (name, digest) if digest else (base, tag or "latest")


def _registry(error: ControlError, reference: str) -> ControlError:
    """What a registry's refusal, passed on by the engine in words, means."""
    low = error.message.lower()
    if any(word in low for word in ("unauthorized", "no basic auth", "authentication required", "denied")):
        return Forbidden(
            f"the registry refuses {reference}: {error.message}",
            next_step="name a file with credentials of the registry (docker's config.json)",
        )
    if "not found" in low or "manifest unknown" in low or "does not exist" in low:
        return NotFound(
            f"the registry has no {reference}: {error.message}", next_step="check the name and the tag"
        )
    if "toomanyrequests" in low or "rate limit" in low:
        return HostUnavailable(
            f"the registry gives out no more for now: {error.message}",
            retry_after=_RATE,
            next_step="wait, or name a file with credentials of the registry: it gives more to those it knows",
        )
    if any(word in low for word in _AWAY):
        return HostUnavailable(
            f"the registry of {reference} does not answer: {error.message}",
            retry_after=30.0,
            next_step=_REGISTRY_UP,
        )
    return error


def _authorisation(name: str, file: Path | None) -> dict[str, str]:
    """The header with the credentials that docker's config.json holds for the image's registry."""
    if file is None:
        return {}
    with image_archives.opened(file) as opened:
        try:
            entries = json.loads(opened.read())["auths"]
            entries.keys()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidRequest(
                f"{file} is no docker config.json with auths", next_step="make one with docker login"
            ) from error
    first, slash, _ = name.partition("/")
    registry = first if slash and ("." in first or ":" in first or first == "localhost") else _HUB
    entry = entries.get(registry) or entries.get(f"https://{registry}") or {}
    try:
        plain = base64.b64decode(entry.get("auth", ""), validate=True).decode()
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidRequest(
            f"{file}: the entry of {registry} can't be read", next_step="make it anew with docker login"
        ) from error
    user, _, password = plain.partition(":")
    if not user:
        return {}
    value = {"username": user, "password": password, "serveraddress": registry}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(value).encode()).decode()}
