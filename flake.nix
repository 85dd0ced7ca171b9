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
            qemu dnsmasq pkgsStatic.busybox cpio dbus e2fsprogs iproute2 kmod lshw pciutils smartmontools strace usbutils util-linux
          ];
          # Wheels are built for other distributions and look for these libraries by name.
          LD_LIBRARY_PATH = pkgs.lib.makeLibraryPath [ pkgs.stdenv.cc.cc.lib pkgs.zlib pkgs.libvirt pkgs.systemd ];
        };
      });

      nixosModules.default = { pkgs, lib, ... }: {
        imports = [ ./nixos/module.nix ];
        services.nixcc.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.default;
      };
    };
}
