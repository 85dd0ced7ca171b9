"""A real docker-registry in a dockerd's network namespace, where `127.0.0.1` is its loopback."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dockerd import Dockerd

USER, PASSWORD = "alice", "sesame-canary"
# bcrypt of the password.
_HASH = "$2b$05$ChH.WRlDBa8LGmecVXh21.CWGs7yrEqIi5Ys.Rm8UkLBLXpw8keEO"
_CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_PATIENCE = 20.0


@contextmanager
def registry(daemon: Dockerd, folder: Path, port: int, *, password: bool = False) -> Iterator[str]:
    """One for a while; where it is, such as `127.0.0.1:5000`."""
    text = _CONFIG.format(folder=folder, port=port)
    if password:
        (folder / "users").write_text(f"{USER}:{_HASH}\n")
        text += f"auth: {{htpasswd: {{realm: r, path: {folder}/users}}}}\n"
    (folder / "config.yml").write_text(text)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            daemon.inside("docker-registry", "serve", str(folder / "config.yml")), stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + _PATIENCE
        while subprocess.run(
            daemon.inside("bash", "-c", f"</dev/tcp/127.0.0.1/{port}"), check=False, capture_output=True
        ).returncode:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the registry does not listen"
            time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def credentials(path: Path, where: str, user: str = USER, password: str = PASSWORD) -> Path:
    """A file as `docker login` writes it."""
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {where: {"auth": auth}}}))
    return path


def push(daemon: Dockerd, image: str, reference: str, config: Path | None = None) -> str:
    """Puts an image into a registry, and forgets it here; its digest there."""
    daemon.docker("tag", image, reference)
    options = ["--config", str(config.parent)] if config is not None else []
    said = daemon.docker(*options, "push", reference).stdout
    daemon.docker("rmi", reference)
    return f"sha256:{said.partition('digest: sha256:')[2].split()[0]}"
