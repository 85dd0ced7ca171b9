# `ncc` with the libraries of nixpkgs. The tests run outside (`make test`): they start real daemons.
{ lib, python3Packages }:

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

  dependencies = with python3Packages; [
    apsw
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
    pyudev
    pyyaml
    structlog
  ];

  doCheck = false;
  pythonImportsCheck = [ "cli" "common" "nixcc.resource.v1.resource_pb2" "reconciler" "services" ];

  meta = {
    description = "NixOS Control Center: one typed API and one control loop for a NixOS host";
    license = lib.licenses.mit;
    mainProgram = "ncc";
    platforms = lib.platforms.linux;
  };
}
