# The inputs that a flake.nix declares, as JSON can carry them, with the lines that say so.
# Only its `inputs` are looked at; `path` is an argument, so that no text of anybody's becomes code here.
{ path }:
let
  flake = import path;
  line = name: set: if set ? ${name} then (builtins.unsafeGetAttrPos name set).line or 0 else 0;
  either = a: b: if a != 0 then a else b;
  describe = prefix: set: name:
    let input = set.${name}; here = prefix ++ [ name ]; in
    [
      {
        path = here;
        at = either (line "url" input) (either (line "follows" input) (line name set));
        attributes = removeAttrs input [ "inputs" "flake" "parent" ];
      }
    ]
    ++ builtins.concatLists (map (describe here (input.inputs or { })) (builtins.attrNames (input.inputs or { })));
in
builtins.concatLists (map (describe [ ] (flake.inputs or { })) (builtins.attrNames (flake.inputs or { })))
