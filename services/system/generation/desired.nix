# A NixOS module, written by the control center beside desired.json: what its resources add to this system.
# Everything declared stays data. The one thing JSON can't hold, a package, is said as { "_package": "attribute.path" }.
{ lib, pkgs, options ? { }, ... }:

let
  inherit (builtins) any attrValues concatMap elem filter getAttr hasAttr isAttrs isList isString mapAttrs;

  desired = builtins.fromJSON (builtins.readFile ./desired.json);

  package = path:
    let
      found = builtins.foldl'
        (set: name: if set != null && hasAttr name set then getAttr name set else null)
        pkgs
        (filter isString (builtins.split "[.]" path));
    in
    if found == null then throw "nixcc: there is no package ${builtins.toJSON path} in this system's nixpkgs" else found;

  # NixOS takes a path for a submodule as a file of Nix code to import, also where it is a text that somebody wrote.
  imported = text: type:
    let nested = type.nestedTypes or { }; in
    if elem type.name [ "submodule" "deferredModule" ] then builtins.substring 0 1 text == "/"
    else if type.name == "either" then imported text (if nested.left.check text then nested.left else nested.right)
    else if type.name == "coercedTo" then !nested.coercedType.check text && imported text nested.finalType
    else if elem type.name [ "nullOr" "uniq" "unique" ] && nested ? elemType then imported text nested.elemType
    else false;

  # All types that a value of the type may have in its place.
  alternatives = type:
    if elem type.name [ "nullOr" "uniq" "unique" "either" "coercedTo" ]
    then concatMap alternatives (attrValues (type.nestedTypes or { }))
    else [ type ];

  # What may stand at a place: values of these types, or these sets of options.
  place = found: sets:
    let
      types = concatMap alternatives found;
      below = containers: concatMap
        (type: if elem type.name containers && type.nestedTypes ? elemType then [ type.nestedTypes.elemType ] else [ ])
        types;
      named = sets ++ concatMap (type: if type.name == "submodule" then [ (type.getSubOptions [ ]) ] else [ ]) types;
      others = place
        (below [ "attrsOf" "lazyAttrsOf" "attrsWith" ]
          ++ concatMap (type: if type ? nestedTypes.freeformType then [ type.nestedTypes.freeformType ] else [ ]) types) [ ];
    in
    {
      types = found;
      element = place (below [ "listOf" ]) [ ];
      child = name:
        let
          here = map (getAttr name) (filter (hasAttr name) named);
          isOption = one: one._type or "" == "option";
        in
        if here == [ ] then others
        else place (map (one: one.type) (filter isOption here)) (filter (one: isAttrs one && !isOption one) here);
    };

  decode = path: at: value:
    if isString value then
      if any (imported value) at.types
      then throw "nixcc: ${path} is ${builtins.toJSON value}: Nix would take it for a file of Nix code; a set is wanted"
      else value
    else if isList value then map (decode path at.element) value
    else if !isAttrs value then value
    else if value ? _package then package value._package
    else mapAttrs (name: decode (if path == "" then name else "${path}.${name}") (at.child name)) value;
in

assert desired.version == 1;
{
  config = lib.mkMerge [
    (decode "" (place [ ] [ options ]) desired.options)
    # So that the running system itself tells what it was made from.
    { environment.etc."nixcc/desired.json".source = ./desired.json; }
  ];
}
