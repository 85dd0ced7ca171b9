# As much of nixpkgs' lib as nixos/module.nix uses, so that it is evaluated wherever there is Nix. The tests use the
# real one too, where NIXPKGS_LIB names a copy. Priorities and merging of several definitions are left out: one module
# declares options, the other gives values.
let
  b = builtins;
  type = name: check: { inherit name check; };
  path = b.concatStringsSep ".";
in
rec {
  types = {
    str = type "str" b.isString;
    bool = type "bool" b.isBool;
    port = type "port" (x: b.isInt x && x >= 0 && x <= 65535);
    package = type "package" (x: b.isAttrs x && x ? outPath);
    raw = type "raw" (_: true);
    enum = values: type "enum" (x: b.elem x values);
    nullOr = inner: type "nullOr" (x: x == null || inner.check x);
    listOf = inner: type "listOf" (x: b.isList x && b.all inner.check x);
    attrsOf = inner: type "attrsOf" (x: b.isAttrs x && b.all inner.check (b.attrValues x));
  };
  mkOption = given: given // { _type = "option"; };
  mkEnableOption = what: mkOption { type = types.bool; default = false; description = "Whether to enable ${what}."; };
  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkDefault = value: value;
  literalMD = text: { _type = "literalMD"; inherit text; };
  optional = condition: value: if condition then [ value ] else [ ];
  optionals = condition: values: if condition then values else [ ];
  optionalString = condition: text: if condition then text else "";
  optionalAttrs = condition: set: if condition then set else { };
  escapeShellArgs = b.concatStringsSep " ";
  getExe = package: "${package}/bin/${package.meta.mainProgram}";

  evalModules = { modules, specialArgs ? { } }:
    let
      read = module: if b.isPath module then import module else module;
      call = module: if b.isFunction module then module ({ inherit lib config; } // specialArgs) else module;
      made = map (module: call (read module)) modules;
      declared = b.foldl' deep { } (map (module: module.options or { }) made);
      given = b.foldl' deep { } (map (module: plain (module.config or { })) made);
      # A condition moves down to the options: asking for it any earlier would ask for the configuration itself.
      plain = x: if x._type or "" == "if" then b.mapAttrs (_: mkIf x.condition) x.content else x;
      deep = one: other: one // b.mapAttrs
        (name: value: if one ? ${name} && b.isAttrs one.${name} && b.isAttrs value && !(value ? _type) && !(value ? outPath)
          then deep one.${name} value else value)
        other;
      unknown = at: name: throw "The option `${path (at ++ [ name ])}' does not exist.";
      values = at: options: set:
        assert b.all (name: options ? ${name} || unknown at name) (b.attrNames set);
        b.mapAttrs (name: option: value (at ++ [ name ]) option (if set ? ${name} then [ set.${name} ] else [ ])) options;
      value = at: option: given:
        if option._type or "" != "option" then values at option (if given == [ ] then { } else plain (b.head given))
        else if given != [ ] && (b.head given)._type or "" == "if" then
          value at option (if (b.head given).condition then [ (b.head given).content ] else [ ])
        else let found = if given == [ ] then option.default or (throw "${path at} has no value") else b.head given;
        in if option.type.check found then found else throw "A definition for option `${path at}' is not of type `${option.type.name}'.";
      lib = import ./lib.nix;
      config = values [ ] declared given;
    in
    { inherit config; options = declared; };
}
