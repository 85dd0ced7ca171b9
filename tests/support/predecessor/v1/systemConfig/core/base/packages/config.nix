{
  packageModules = [ "docker" "database" "web-server" "no-such-module" ];
  overrides.enableSSH = null;
}
