# A host with nixos/module.nix and as much of NixOS around it as the module touches; gives what it sets, as JSON.
{ lib, settings, module ? ../../nixos/module.nix }:

let
  package = name: {
    inherit name;
    type = "derivation";
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
    meta.mainProgram = "ncc";
  };
  pkgs = builtins.listToAttrs (map (name: { inherit name; value = package name; })
    [ "e2fsprogs" "git" "kmod" "openssh" "qemu-utils" "restic" "smartmontools" "util-linux" ]) // {
      callPackage = _: _: package "nixcc";
      writeShellScriptBin = name: text: package name // { inherit text; };
    };
  raw = default: lib.mkOption { type = lib.types.raw; inherit default; };
  around = {
    options = {
      assertions = raw [ ];
      environment.systemPackages = raw [ ];
      environment.sessionVariables = raw { };
      nix.package = raw (package "nix");
      systemd.tmpfiles.rules = raw [ ];
      systemd.services = raw { };
    };
  };
  config = (lib.evalModules {
    modules = [ around module { config.services.nixcc = settings; } ];
    specialArgs = { inherit pkgs; };
  }).config;
in
{
  failed = map (one: one.message) (builtins.filter (one: !one.assertion) config.assertions);
  rules = config.systemd.tmpfiles.rules;
  units = config.systemd.services;
  scripts = builtins.mapAttrs (_: unit: map (one: one.text) (builtins.filter (one: one ? text) unit.path)) config.systemd.services;
  variables = config.environment.sessionVariables;
  packages = map (one: one.name) config.environment.systemPackages;
}
