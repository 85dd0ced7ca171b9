#!/bin/sh
# Makes .venv with the locked dependencies. `setup.sh run` installs what running needs, `setup.sh test` also what the
# tests start for real. As root on Debian it installs missing packages; elsewhere it says what is missing.
set -eu
cd "$(dirname "$0")/.."

RUN_PACKAGES="python3-venv"
VM_PACKAGES="gcc libvirt-dev pkg-config python3-dev"
TEST_PACKAGES="btrfs-progs busybox-static cpio crun cryptsetup-bin dbus dnsmasq-base docker-compose docker-registry docker.io dosfstools e2fsprogs fdisk git iproute2 kmod \
libvirt-daemon-driver-qemu libvirt-daemon-system lshw mount nix-bin pciutils podman procps qemu-system-x86 qemu-utils restic smartmontools \
strace systemd udev usbutils util-linux xfsprogs"

is_debian() { [ -e /etc/debian_version ] && command -v apt-get >/dev/null; }

missing() {
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

# install WHAT PACKAGE…: installs those that are missing, or says how to.
install() {
    what=$1
    shift
    if ! is_debian; then
        echo "setup: $what needs what Debian calls: $* (then make setup again)" >&2
        return 1
    fi
    wanted=$(missing "$@")
    [ -z "$wanted" ] && return 0
    # shellcheck disable=SC2086  # a list of package names
    if [ "$(id -u)" != 0 ]; then
        echo "setup: $what needs: sudo apt-get install --no-install-recommends" $wanted "(then make setup again)" >&2
        return 1
    fi
    # shellcheck disable=SC2086
    { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 update &&
        DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends -y $wanted \
            >/dev/null; } || { echo "setup: apt-get could not install" $wanted >&2; return 1; }
}

cloud_image() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/^ *Depends: *\(linux-image-[0-9].*\)/\1/p' | head -n 1
}

# The kernel that the booted test machine runs: out of Debian's package, not installed here.
unpack_kernel() {
    [ -e build/kernel/vmlinuz ] && return 0
    is_debian && [ "$(dpkg --print-architecture)" = amd64 ] || return 1
    image=$(cloud_image)
    if [ -z "$image" ] && [ "$(id -u)" = 0 ]; then
        apt-get -qq -o DPkg::Lock::Timeout=300 update
        image=$(cloud_image)
    fi
    [ -n "$image" ] || return 1
    rm -rf build/kernel.new && mkdir -p build/kernel.new
    (cd build/kernel.new && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$image" && dpkg-deb -x ./*.deb .) || return 1
    mkdir -p build/kernel
    cp build/kernel.new/boot/vmlinuz-* build/kernel/vmlinuz
    rm -rf build/kernel.new
}

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))'; then
    echo "setup: $python is too old; Python 3.11 or newer is needed (set PYTHON)" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    install "a virtual environment" "$RUN_PACKAGES" || exit 1
fi
.venv/bin/python -m pip --version >/dev/null 2>&1 || { rm -rf .venv && "$python" -m venv .venv; }
pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@"; }

pip install --require-hashes --only-binary :all: -r requirements/base.txt
if [ "${1:-run}" = test ]; then
    pip install --require-hashes --only-binary :all: -r requirements/dev.txt
fi
if ! .venv/bin/python -c 'import libvirt' 2>/dev/null; then
    # Elsewhere than on Debian it may be there by another package's name.
    # shellcheck disable=SC2086
    if ! { install "the vm service" $VM_PACKAGES || pkg-config --exists libvirt 2>/dev/null; } ||
        ! pip install --require-hashes --no-deps --no-build-isolation -r requirements/vm.txt; then
        echo "setup: going on without libvirt: the vm service will report Unsupported" >&2
    fi
fi
pip install --no-deps --no-build-isolation --editable .
# The first `ncc` should start as fast as the second.
.venv/bin/python -m compileall -q cli common reconciler services protos/gen
if [ "${1:-run}" = test ]; then
    # shellcheck disable=SC2086
    install "the host tests" $TEST_PACKAGES || echo "setup: tests that need these are skipped" >&2
    unpack_kernel || echo "setup: build/kernel/vmlinuz is missing; tests that boot a machine are skipped" >&2
fi
