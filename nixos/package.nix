# `ncc` with the libraries of nixpkgs. The tests run outside (`make test`): they start real daemons.
{ lib, installShellFiles, python3Packages, stdenv }:

python3Packages.buildPythonApplication {
  pname = "nixcc";
  version = (lib.importTOML ../pyproject.toml).project.version;
  pyproject = true;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../LICENSE
      ../README.md
      ../cli
      ../common
      ../protos
      ../pyproject.toml
      ../reconciler
      ../services
    ];
  };

  build-system = [ python3Packages.hatchling ];
  nativeBuildInputs = [ installShellFiles ];

  dependencies = with python3Packages; [
    apsw
    cronsim
    dbus-fast
    docker
    googleapis-common-protos
    grpcio
    grpcio-health-checking
    grpcio-reflection
    libvirt
    opentelemetry-sdk
    prometheus-client
    protobuf
    psutil
    pycdlib
    pydantic
    pyrage
    pyudev
    pyyaml
    structlog
  ];

  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    for shell in bash zsh fish; do
      PYTHONPATH="$out/${python3Packages.python.sitePackages}:$PYTHONPATH" $out/bin/ncc completion $shell > ncc.$shell
      installShellCompletion --cmd ncc --$shell ncc.$shell
    done
  '';

  doCheck = false;
  pythonImportsCheck = [ "cli" "common" "nixcc.resource.v1.resource_pb2" "reconciler" "services" ];

  meta = {
    description = "NixOS Control Center: one typed API and one control loop for a NixOS host";
    license = lib.licenses.mit;
    mainProgram = "ncc";
    platforms = lib.platforms.linux;
  };
}
