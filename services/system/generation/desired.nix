# A NixOS module, written by the control center beside desired.json: what its resources add to this system.
# Everything declared stays data. The one thing JSON can't hold, a package, is said as { "_package": "attribute.path" }.
{ lib, pkgs, ... }:

let
  desired = builtins.fromJSON (builtins.readFile ./desired.json);

  package = path:
    let
      found = builtins.foldl'
        (set: name: if set != null && builtins.hasAttr name set then builtins.getAttr name set else null)
        pkgs
        (builtins.filter builtins.isString (builtins.split "[.]" path));
    in
    if found == null then throw "nixcc: there is no package ${builtins.toJSON path} in this system's nixpkgs" else found;

  decode = value:
    if builtins.isList value then map decode value
    else if !builtins.isAttrs value then value
    else if value ? _package then package value._package
    else builtins.mapAttrs (_: decode) value;
in

assert desired.version == 1;
{
  config = lib.mkMerge [
    (decode desired.options)
    # So that the running system itself tells what it was made from.
    { environment.etc."nixcc/desired.json".source = ./desired.json; }
  ];
}
