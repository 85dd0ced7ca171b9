# What each service may do, as sections [Service]; docs/nixos.md says why, tests/nixos hold the scores.
#
# All are root without most of root's privileges: their sockets and state are root's alone. The guard of a switch is not
# bound by any of this: the daemon starts it by systemd-run, as a unit of its own that outlives this one.
{ lib, cfg }:

let
  runtimeDir = builtins.dirOf cfg.socket;
  stateOf = name: "${cfg.stateDir}/${name}";

  # Costs no service anything.
  base = {
    Type = "exec";
    Restart = "on-failure";
    RestartSec = 1;
    # SIGTERM drains; what hasn't ended by then is safe to kill.
    TimeoutStopSec = 30;
    UMask = "0077";
    NoNewPrivileges = true;
    LockPersonality = true;
    # ctypes makes no callbacks, and no library compiles at run time.
    MemoryDenyWriteExecute = true;
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    KeyringMode = "private";
    SystemCallArchitectures = "native";
    # What is forbidden fails like any other refusal, and the kind's condition says so; the daemon lives on.
    SystemCallErrorNumber = "EPERM";
    RestrictAddressFamilies = [ "AF_UNIX" ];
    ProtectHostname = true;
    ProtectClock = true;
  };

  # Each of these gives the unit a mount namespace of its own: writing goes where it always went, but what is mounted
  # in there stays in there.
  namespaced = {
    PrivateDevices = true;
    PrivateMounts = true;
    PrivateTmp = true;
    ProtectControlGroups = true;
    ProtectHome = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectProc = "invisible";
    ProtectSystem = "strict";
  };

  # Without changing owners, limits and priorities. SQLite, as root, tries to, and does without.
  plain = [ "@system-service" "~@privileged @resources" ];
  # @privileged holds chown too, which some need: the rest of it one by one.
  owning = [
    "@system-service"
    "~@clock @cpu-emulation @debug @module @mount @obsolete @raw-io @reboot @resources @swap"
  ];
  internet = [ "AF_UNIX" "AF_INET" "AF_INET6" ];
  # getaddrinfo asks the kernel for this host's addresses.
  netlink = [ "AF_NETLINK" ];

  # The loop: its store, its socket, and the services' sockets. Metrics are its only network.
  reconciler = base // namespaced // {
    CapabilityBoundingSet = "";
    SystemCallFilter = plain;
    PrivateUsers = true;
    ProcSubset = "pid";
    ReadWritePaths = [ cfg.stateDir runtimeDir ];
    PrivateNetwork = cfg.metricsPort == null;
    IPAddressDeny = "any";
  } // lib.optionalAttrs (cfg.metricsPort != null) {
    IPAddressAllow = "localhost";
    RestrictAddressFamilies = internet;
  };

  # Files of any owner and mode anywhere, kernel parameters, the host's name, units over D-Bus; builds and probes.
  system = base // namespaced // {
    # CHOWN … FSETID: files of others, with setuid bits; NET_ADMIN, SYS_ADMIN: parameters in /proc/sys, sethostname(2).
    CapabilityBoundingSet =
      "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_NET_ADMIN CAP_SYS_ADMIN";
    SystemCallFilter = owning ++ [ "sethostname" ];
    RestrictAddressFamilies = internet ++ netlink;
    RestrictSUIDSGID = false;
    ProtectHostname = false;
    # A File may lie in any of these.
    PrivateTmp = false;
    ProtectHome = false;
    ProtectSystem = false;
    ProtectKernelTunables = false;
    # A guard is known by its number and start in /proc, and it has more rights than its asker.
    ProtectProc = "default";
  };

  # Mounts, swap, modules, governors: the kernel itself. mount, modprobe, swapon, smartctl and the like run outside
  # of the unit (module.nix): what is mounted in its own namespace, the host would never see. For the same reason nothing
  # is made read-only here: the unit would take it for the host's.
  hardware = base // {
    # NET_ADMIN: ethtool; SYS_ADMIN: all of a PCI device's configuration.
    CapabilityBoundingSet = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_NET_ADMIN CAP_SYS_ADMIN";
    SystemCallFilter = owning;
    # Uevents and addresses come by netlink; ethtool asks by an Internet socket that nothing is sent through.
    RestrictAddressFamilies = internet ++ netlink;
    IPAddressDeny = "any";
    PrivateMounts = true;
    ProtectControlGroups = true;
    ProtectKernelLogs = true;
    ProtectProc = "invisible";
    # Signatures are read from disks, mkswap writes them; cpuid tells of the hypervisor.
    DevicePolicy = "closed";
    DeviceAllow = [ "block-* rw" "char-cpu/cpuid r" ];
  };

  # libvirt's socket, seeds and images; the machines run in libvirtd's units.
  vm = base // namespaced // {
    # Images belong to the user that QEMU runs as.
    CapabilityBoundingSet = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER";
    SystemCallFilter = owning;
    PrivateNetwork = true;
    IPAddressDeny = "any";
    ProtectHome = "read-only";
    # A machine's disk may be a block device, whose beginning is read.
    PrivateDevices = false;
    DevicePolicy = "closed";
    DeviceAllow = [ "block-* r" ];
    # Where the state folder is closed to QEMU's user, seeds lie in /var/lib/nixcc-seeds.
    ReadWritePaths = [ runtimeDir (stateOf "vm") "/var/lib/nixcc-seeds" ] ++ map (folder: "-${folder}") cfg.imageFolders;
  };

  # Everything in the store goes through Nix's daemon (NIX_REMOTE); only the profile's links are ours.
  packages = base // namespaced // {
    CapabilityBoundingSet = "";
    SystemCallFilter = plain;
    RestrictAddressFamilies = internet ++ netlink;
    ReadWritePaths = [ runtimeDir (stateOf "packages") "/nix/var/nix/profiles" "/nix/var/nix/gcroots" ];
  };

  # The flake's folder and root's channels; a switch is asked of the system service.
  updater = base // namespaced // {
    # The flake may belong to somebody else.
    CapabilityBoundingSet = "CAP_DAC_OVERRIDE";
    SystemCallFilter = plain;
    RestrictAddressFamilies = internet ++ netlink;
    # Root's channels are listed in its home.
    ProtectHome = false;
    ReadWritePaths = [ runtimeDir (stateOf "updater") "-${cfg.flake}" "-/root" "/nix/var/nix/profiles" ];
  };

  # The engine's socket: what containers do, the engine does. Backups read files of any owner, write repositories, here or
  # over the network, and restore files anywhere with owner and mode.
  homelab = base // namespaced // {
    # KILL: a program in a container whose caller has left is hung up, for which it is looked up in /proc.
    CapabilityBoundingSet = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL";
    ProtectProc = "default";
    SystemCallFilter = owning;
    RestrictAddressFamilies = internet ++ netlink;
    RestrictSUIDSGID = false;
    PrivateTmp = false;
    ProtectHome = false;
    ProtectSystem = false;
  };

  # One process does what any of them does: hardware's limits, without those that keep system from its work.
  together = hardware // {
    CapabilityBoundingSet = "${hardware.CapabilityBoundingSet} CAP_DAC_READ_SEARCH CAP_FSETID";
    SystemCallFilter = hardware.SystemCallFilter ++ [ "sethostname" ];
    RestrictSUIDSGID = false;
    ProtectHostname = false;
    IPAddressDeny = [ ];
    # A guard is known by its number and start in /proc, and it has more rights than its asker.
    ProtectProc = "default";
  };
in
builtins.mapAttrs (name: limits: limits // { CacheDirectory = "nixcc-${name}"; CacheDirectoryMode = "0700"; }) {
  inherit reconciler system hardware vm packages updater homelab together;
}
