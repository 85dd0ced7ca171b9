# Runs the control center on a NixOS host: `services.nixcc.enable = true;`
{ config, lib, pkgs, ... }:

let
  cfg = config.services.nixcc;
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

    stateDir = lib.mkOption {
      type = lib.types.str;
      default = "/var/lib/nixcc";
      description = "Where the desired state is stored. Readable by root alone.";
    };

    socket = lib.mkOption {
      type = lib.types.str;
      default = "/run/nixcc/nixcc.sock";
      description = "The socket that clients use; the services listen in the same folder. At most 107 bytes.";
    };

    services = lib.mkOption {
      type = lib.types.listOf (lib.types.enum [ "system" "hardware" "vm" ]);
      default = [ ];
      example = [ "system" "vm" ];
      description = "The services to run; the reconciler always runs. An empty list means all of them.";
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

    systemd.tmpfiles.rules = [
      "d ${cfg.stateDir} 0700 root root -"
      "d ${builtins.dirOf cfg.socket} 0700 root root -"
    ];

    systemd.services.nixcc = {
      description = "NixOS Control Center";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" "systemd-tmpfiles-setup.service" ]
        ++ lib.optional config.virtualisation.libvirtd.enable "libvirtd.service";

      # The programs that the services' drivers call.
      path = with pkgs; [ e2fsprogs kmod qemu-utils smartmontools util-linux ];

      serviceConfig = {
        ExecStart = lib.escapeShellArgs (
          [ (lib.getExe cfg.package) "serve" ]
          ++ lib.optionals (cfg.services != [ ]) (cfg.services ++ [ "reconciler" ])
          ++ [ "--state-dir" cfg.stateDir "--socket" cfg.socket "--log-format" "json" ]
          ++ lib.optionals (cfg.metricsPort != null) [ "--metrics-port" (toString cfg.metricsPort) ]
        );
        Restart = "on-failure";
        RestartSec = 1;
        # SIGTERM drains; what hasn't ended by then is safe to kill.
        TimeoutStopSec = 30;
        UMask = "0077";
      };
    };
  };
}
