#!/bin/sh
# Resolves pyproject.toml's dependencies into requirements/*.txt: exact versions with hashes, no index named.
set -eu
cd "$(dirname "$0")/.."
[ -x build/lock/bin/uv ] || { python3 -m venv build/lock && build/lock/bin/pip -q install uv; }
lock() {
    out=$1
    shift
    build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        --no-emit-index-url --no-emit-find-links --no-annotate \
        --output-file "requirements/$out.txt" "$@"
}
rm -f requirements/base.txt requirements/dev.txt requirements/vm.txt requirements/protos.txt
# hatchling and setuptools build the editable install and libvirt-python without asking an index.
mkdir -p build
printf 'hatchling\neditables\nsetuptools\n' >build/build-system.in
lock base pyproject.toml build/build-system.in
lock dev pyproject.toml --group dev --constraint requirements/base.txt
lock protos --group protos
# Built from source: it builds against Debian 12's libvirt 9.0.
printf 'libvirt-python==%s\n' "${LIBVIRT_PYTHON:-12.8.0}" >build/vm.in
lock vm build/vm.in
