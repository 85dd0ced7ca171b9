# Runs the control center on a NixOS host: `services.nixcc.enable = true;`. What its resources add to the system comes
# in by a flake input of its own (docs/nixos.md).
{ config, lib, pkgs, ... }:

let
  cfg = config.services.nixcc;
  known = [ "system" "hardware" "vm" "packages" "updater" "homelab" ];
  chosen = if cfg.services == [ ] then known else cfg.services;
  runtimeDir = builtins.dirOf cfg.socket;
  limits = import ./units.nix { inherit lib cfg; };

  # A program as a unit of its own: in the host's mount namespace and with all rights. What mount leaves running (FUSE)
  # stays there.
  outside = package: name: pkgs.writeShellScriptBin name ''
    exec systemd-run --quiet --pipe --wait --collect --service-type=exec --property=KillMode=process \
      -- ${package}/bin/${name} "$@"
  '';

  # The programs that each service's drivers call. The first of a name counts.
  programs = with pkgs; {
    reconciler = [ ];
    system = [ config.nix.package git ];
    hardware = [ (outside kmod "modprobe") (outside smartmontools "smartctl") ]
      ++ map (outside util-linux) [ "mount" "umount" "swapon" "swapoff" ]
      ++ [ e2fsprogs kmod util-linux ];
    vm = [ qemu-utils ];
    # Backups; rclone is for those to add who use it.
    homelab = [ restic openssh ];
    packages = [ config.nix.package git ];
    updater = [ config.nix.package git ];
  };

  # One unit: what `ncc serve` is told to run (nothing: everything), and within which limits.
  unit = { name, served, serviceConfig, path, metrics }: let cache = "/var/cache/${serviceConfig.CacheDirectory}"; in {
    description = "NixOS Control Center" + lib.optionalString (name != "") " (${name})";
    wantedBy = [ "multi-user.target" ];
    after = [ "network.target" "nix-daemon.socket" "dbus.socket" ]
      ++ lib.optional (builtins.elem "vm" served) "libvirtd.service"
      ++ lib.optionals (builtins.elem "homelab" served) [ "docker.socket" "podman.socket" ];
    inherit path;
    environment = {
      # Root would change the store by itself; Nix's daemon does it, so that no unit of ours needs the right to.
      NIX_REMOTE = "daemon";
      NCC_UPDATER_FLAKE = cfg.flake;
      # Nix gives up where it may not even look for its settings.
      HOME = if (serviceConfig.ProtectHome or false) == false then "/root" else cache;
      XDG_CACHE_HOME = cache;
    } // cfg.environment;
    serviceConfig = serviceConfig // {
      ExecStart = lib.escapeShellArgs (
        [ (lib.getExe cfg.package) "serve" ] ++ served
        ++ [ "--state-dir" cfg.stateDir "--socket" cfg.socket "--log-format" "json" ]
        ++ lib.optionals (metrics && cfg.metricsPort != null) [ "--metrics-port" (toString cfg.metricsPort) ]
      );
    };
  };

  alone = name: {
    name = "nixcc-${name}";
    value = unit {
      inherit name;
      served = [ name ];
      serviceConfig = limits.${name};
      path = programs.${name};
      metrics = name == "reconciler";
    };
  };
in
{
  options.services.nixcc = {
    enable = lib.mkEnableOption "NixOS Control Center, which keeps this host the way its manifests say";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalMD "the package of this flake";
      description = "The package that provides `ncc`.";
    };

    together = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = ''
        Whether all services run in one process, which takes less memory but has the privileges of all of them; by
        default each has a unit of its own with only those that it needs.
      '';
    };

    services = lib.mkOption {
      type = lib.types.listOf (lib.types.enum known);
      default = [ ];
      example = [ "system" "vm" ];
      description = "The services to run; the reconciler always runs. An empty list means all of them.";
    };

    stateDir = lib.mkOption {
      type = lib.types.str;
      default = "/var/lib/nixcc";
      description = "Where the desired state is stored. Readable by root alone.";
    };

    socket = lib.mkOption {
      type = lib.types.str;
      default = "/run/nixcc/nixcc.sock";
      description = ''
        The socket that clients use; the services listen in the same folder, which should hold nothing else. At most 107
        bytes. Who may open it may do what root may; it is root's alone.
      '';
    };

    flake = lib.mkOption {
      type = lib.types.str;
      default = "/etc/nixos";
      description = "Folder of this host's flake; the updater may write there.";
    };

    imageFolders = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ "/var/lib/libvirt" ];
      description = "Folders in which disk images of virtual machines may be made. Those that are missing are passed over.";
    };

    environment = lib.mkOption {
      type = lib.types.attrsOf lib.types.str;
      default = { };
      example = { NCC_VM_URI = "qemu:///system"; };
      description = "Settings of the services, NCC_<SERVICE>_<NAME>. Everybody can read them: no secrets.";
    };

    metricsPort = lib.mkOption {
      type = lib.types.nullOr lib.types.port;
      default = null;
      description = "Port on 127.0.0.1 that serves metrics for Prometheus; null for none.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = builtins.stringLength cfg.socket <= 107;
        message = "services.nixcc.socket: a Unix socket's path has at most 107 bytes (unix(7)).";
      }
    ];

    environment.systemPackages = [ cfg.package ];
    environment.sessionVariables.NCC_SOCKET = cfg.socket;

    # Before any unit starts: a path that a unit may write to must be there.
    systemd.tmpfiles.rules = map (folder: "d ${folder} 0700 root root -")
      ([ cfg.stateDir runtimeDir ] ++ map (name: "${cfg.stateDir}/${name}") chosen)
      ++ lib.optional (builtins.elem "vm" chosen) "d /var/lib/nixcc-seeds 0711 root root -";

    systemd.services =
      if cfg.together then {
        nixcc = unit {
          name = "";
          served = lib.optionals (cfg.services != [ ]) (cfg.services ++ [ "reconciler" ]);
          serviceConfig = limits.together;
          path = builtins.concatMap (name: programs.${name}) chosen;
          metrics = true;
        };
      }
      else builtins.listToAttrs (map alone (chosen ++ [ "reconciler" ]));
  };
}
