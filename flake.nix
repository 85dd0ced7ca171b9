{
  description = "NixOS Control Center: one typed API and one control loop for a NixOS host";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      forEach = build: nixpkgs.lib.genAttrs systems (system: build nixpkgs.legacyPackages.${system});
    in
    {
      packages = forEach (pkgs: {
        default = pkgs.callPackage ./nixos/package.nix { };
      });

      devShells = forEach (pkgs: {
        default = pkgs.mkShell {
          # What `make setup` builds libvirt-python with, and what the tests start for real.
          packages = with pkgs; [
            python3 gcc gnumake pkg-config libvirt git
            qemu dnsmasq pkgsStatic.busybox btrfs-progs cpio cryptsetup dbus dosfstools e2fsprogs iproute2 kmod lshw
            pciutils smartmontools strace systemd usbutils util-linux xfsprogs
          ];
          # Wheels are built for other distributions and look for these libraries by name.
          LD_LIBRARY_PATH = pkgs.lib.makeLibraryPath [ pkgs.stdenv.cc.cc.lib pkgs.zlib pkgs.libvirt pkgs.systemd ];
        };
      });

      # The package, and a machine that runs the module (needs KVM).
      checks = forEach (pkgs: {
        package = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
        control-center = pkgs.testers.runNixOSTest (import ./nixos/tests/control-center.nix {
          nixcc = self.nixosModules.default;
        });
      });

      nixosModules.default = { pkgs, lib, ... }: {
        imports = [ ./nixos/module.nix ];
        services.nixcc.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.default;
      };
    };
}
