# Tells the options of a system that a flake has. Values come in as arguments and stay data.
#   what = "list": all options; "value": one option, its value and where it is defined.
{ flake, host, what ? "list", path ? "[]" }:

let
  inherit (builtins)
    attrNames attrValues concatMap deepSeq filter foldl' fromJSON functionArgs getFlake hasAttr isAttrs isBool isFloat
    isFunction isInt isList isPath isString map mapAttrs match toJSON toString tryEval typeOf;

  systems = (getFlake flake).nixosConfigurations;
  system =
    if hasAttr host systems then systems.${host}
    else throw "the flake has no nixosConfigurations.${host}; it has ${toString (attrNames systems)}";

  try = default: value: let tried = tryEval (deepSeq value value); in if tried.success then tried.value else default;
  isOption = value: isAttrs value && (value._type or "") == "option";
  isSet = value: isAttrs value && (value.type or "") != "derivation" && !(value ? _type);

  text = value:
    if isString value then value
    else if isAttrs value && value ? text then toString value.text
    else if isAttrs value && value ? _type then ""
    else try "" (toJSON (data 6 value));

  # What JSON can say of a value; functions and packages by a word.
  data = depth: value:
    if value == null || isBool value || isInt value || isFloat value || isString value then value
    else if isPath value then toString value
    else if isFunction value then "<function>"
    else if isList value then (if depth == 0 then "<list>" else map (data (depth - 1)) value)
    else if (value.type or "") == "derivation" then "<package ${value.name or "?"}>"
    else if depth == 0 then "<set>"
    else mapAttrs (_: inner: try "<error>" (data (depth - 1) inner)) value;

  describe = loc: option: {
    loc = map toString loc;
    type = try "unspecified" (option.type.description or option.type.name or "unspecified");
    default = try "" (text (option.defaultText or option.default or ""));
    example = try "" (text (option.example or ""));
    description = try "" (text (option.description or ""));
    declarations = try [ ] (map toString (option.declarations or [ ]));
    readOnly = try false (option.readOnly or false);
  };

  listed = depth: loc: options:
    if depth == 0 || !(isAttrs options) then [ ]
    else concatMap
      (name:
        let
          tried = tryEval options.${name};
          value = tried.value;
          here = loc ++ [ name ];
        in
        if name == "_module" || !tried.success then [ ]
        else if isOption value then
          [ (describe here value) ]
          ++ (
            let below = tryEval (if value.type ? getSubOptions then value.type.getSubOptions here else { });
            in if below.success then within (depth - 1) below.value else [ ]
          )
        else if isSet value then listed (depth - 1) here value
        else [ ])
      (attrNames options);

  # Options of a submodule know their whole place themselves.
  within = depth: options:
    if depth == 0 || !(isAttrs options) then [ ]
    else concatMap
      (name:
        let tried = tryEval options.${name}; value = tried.value; in
        if name == "_module" || !tried.success then [ ]
        else if isOption value then
          (if value ? loc then [ (describe value.loc value) ] else [ ])
          ++ (
            let below = tryEval (if value.type ? getSubOptions then value.type.getSubOptions (value.loc or [ ]) else { });
            in if below.success then within (depth - 1) below.value else [ ]
          )
        else if isSet value then within (depth - 1) value
        else [ ])
      (attrNames options);

  # As far as options go; below them lies their value.
  find = options: steps:
    if steps == [ ] || isOption options then options
    else if isAttrs options && hasAttr (builtins.head steps) options
    then find options.${builtins.head steps} (builtins.tail steps)
    else null;
  reach = value: steps:
    if steps == [ ] then { found = true; inherit value; }
    else if isAttrs value && hasAttr (builtins.head steps) value
    then reach value.${builtins.head steps} (builtins.tail steps)
    else { found = false; value = null; };

  steps = fromJSON path;
  option = find system.options steps;
  reached = tryEval (let one = reach system.config steps; in deepSeq (data 12 one.value) one);
in
if what == "list" then listed 40 [ ] system.options
else {
  known = isOption option;
  readable = reached.success && reached.value.found;
  value = if reached.success && reached.value.found then data 12 reached.value.value else null;
  defined = isOption option && try false (option.isDefined or false);
  definitions =
    if !(isOption option) then [ ]
    else try [ ] (map
      (one: { file = toString one.file; value = try "<error>" (data 12 one.value); })
      (option.definitionsWithLocations or [ ]));
}
