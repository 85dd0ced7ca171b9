"""Packages: search over 100,000 of them through a warm daemon, making their index, and installing one with real Nix."""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from daemon import NCC, Daemon, percentile, row

from nixcc.packages.v1 import packages_service_pb2 as pb
from nixcc.packages.v1 import packages_service_pb2_grpc

PACKAGES = 100_000
SEARCHES = 600
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_COMMON = (
    *("a", "and", "client", "command", "fast", "for", "library", "line"),
    *("of", "parser", "python", "server", "simple", "the", "tool"),
)
_SETS = ("", "", "", "python3Packages.", "haskellPackages.", "perlPackages.", "nodePackages.")


def run() -> list[dict[str, Any]]:
    """Rows of the benchmark table."""
    folder = Path(tempfile.mkdtemp(prefix="nixcc-bench-"))
    try:
        chance = random.Random(7)
        words = ["".join(chance.choices(_LETTERS, k=chance.randint(3, 10))) for _ in range(12_000)]
        listing = folder / "packages.json"
        listing.write_text(json.dumps({"version": 2, "packages": dict(_packages(chance, words))}))
        with _environment(folder):
            return [*_searching(folder, listing, chance, words), *_installing(folder)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _packages(chance: random.Random, words: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number in range(PACKAGES):
        word = chance.choice(words)
        described = (chance.choice(_COMMON if chance.random() < 0.6 else words) for _ in range(9))
        meta = {
            "available": True,
            "description": " ".join(described),
            "homepage": f"https://{word}.example.org",
            "license": {"free": True, "fullName": "MIT License", "spdxId": "MIT"},
            "platforms": ["aarch64-linux", "x86_64-linux"],
            "position": f"pkgs/by-name/{word[:2]}/{word}/package.nix:12",
        }
        version = f"{number % 7}.{number % 50}"
        package = {"meta": meta, "name": f"{word}-{version}", "pname": word, "system": "x86_64-linux"}
        yield f"{chance.choice(_SETS)}{word}-{number}", {**package, "version": version}


def _searching(folder: Path, listing: Path, chance: random.Random, words: list[str]) -> list[dict[str, Any]]:
    daemon = Daemon(folder, services=("packages",))
    try:
        before = daemon.memory()
        start = time.perf_counter()
        daemon.ncc("package", "refresh", "--file", str(listing))
        made = time.perf_counter() - start
        fresh = daemon.memory()
        queries = {
            "a name": lambda: chance.choice(words),
            "two letters": lambda: chance.choice(words)[:2],
            "two words": lambda: f"{chance.choice(words)[:4]} {chance.choice(_COMMON)}",
            "a word that thousands have": lambda: chance.choice(_COMMON),
        }
        rows = [row(f"package index of {PACKAGES:,}: make it", made, "s")]
        every: list[float] = []
        with grpc.insecure_channel(f"unix:{daemon.socket}") as channel:
            stub = packages_service_pb2_grpc.PackagesServiceStub(channel)
            for name, query in queries.items():
                times = _timed(stub, query)
                every += times
                p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
                rows.append(row(f"search {PACKAGES:,} packages for {name}, p50", p50, "ms"))
                rows.append(row(f"search {PACKAGES:,} packages for {name}, p99", p99, "ms"))
            making = subprocess.Popen(
                [NCC, "package", "refresh", "--file", str(listing), "--force"],
                env=daemon.environment,
                stdout=subprocess.DEVNULL,
            )
            meanwhile: list[float] = []
            while making.poll() is None:
                meanwhile += _timed(stub, queries["a name"], 10)
            p99 = percentile(meanwhile, 0.99)
            rows.append(row("search for a name while the index is made anew, p99", p99, "ms"))
        rows.append(row(f"search {PACKAGES:,} packages, all of these, p99", percentile(every, 0.99), "ms"))
        command = daemon.timed("package", "search", words[0], runs=20)
        rows.append(row("ncc package search, a whole process, p50", percentile(command, 0.5), "ms"))
        rows.append(row("memory: before the index", before, "MB"))
        rows.append(row("memory: after making the index", fresh, "MB"))
        rows.append(row(f"memory: after {len(every):,} searches", daemon.memory(), "MB"))
        return rows
    finally:
        daemon.stop()


def _timed(stub: Any, query: Callable[[], str], count: int = SEARCHES // 4) -> list[float]:
    times = []
    for _ in range(count):
        request = pb.SearchRequest(query=query(), limit=50)
        start = time.perf_counter()
        stub.Search(request)
        times.append((time.perf_counter() - start) * 1e3)
    return sorted(times)


def _installing(folder: Path) -> list[dict[str, Any]]:
    """One small package that builds at once: what is left is our own time and Nix's."""
    if shutil.which("nix") is None:
        return []
    flake = folder / "flake"
    flake.mkdir()
    (flake / "flake.nix").write_text(_FLAKE)
    reference = f"path:{flake}"
    os.environ["NCC_PACKAGES_FLAKE"] = reference
    place = folder / "installing"
    place.mkdir()
    daemon = Daemon(place, services=("packages",))
    try:
        ours, peer = [], []
        manifest = place / "package.yaml"
        manifest.write_text("kind: Package\nmetadata: {name: hello}\n")
        for _ in range(5):
            start = time.perf_counter()
            daemon.ncc("apply", "-f", str(manifest), "--wait")
            ours.append((time.perf_counter() - start) * 1e3)
            daemon.ncc("delete", "package", "hello", "--wait")
            profile = place / "peer"
            start = time.perf_counter()
            subprocess.run(
                ["nix", "profile", "install", "--profile", str(profile), f"{reference}#hello"],
                check=True,
                capture_output=True,
            )
            peer.append((time.perf_counter() - start) * 1e3)
            subprocess.run(
                ["nix", "profile", "remove", "--profile", str(profile), "0"], check=True, capture_output=True
            )
        return [
            row("install a package, apply --wait to ready", statistics.median(ours), "ms"),
            row("install a package", statistics.median(peer), "ms", "nix profile install"),
        ]
    finally:
        daemon.stop()


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """A Nix store of our own."""
    home = folder / "home"
    home.mkdir()
    values = {
        "NIX_CONFIG": "build-users-group =\nsandbox = false\nsubstituters =\n"
        "experimental-features = nix-command flakes\n",
        "NIX_STORE_DIR": str(folder / "nix/store"),
        "NIX_STATE_DIR": str(folder / "nix/var/nix"),
        "NIX_LOG_DIR": str(folder / "nix/log"),
        "NIX_CONF_DIR": str(folder / "nix/etc"),
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "NCC_PACKAGES_FLAKE": "nixpkgs",
    }
    old = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_FLAKE = """{
  outputs = { self }: {
    packages.x86_64-linux.hello = derivation {
      name = "hello-1.0";
      system = "x86_64-linux";
      builder = "/bin/sh";
      PATH = "/usr/bin:/bin";
      args = [ "-c" "mkdir -p $out/bin; echo hello > $out/bin/hello" ];
    };
  };
}
"""
