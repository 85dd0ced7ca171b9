{
  enable = true;
  hostName = "atlas";
  networkManager.dns = "systemd-resolved";
  firewall = { enable = true; trustedNetworks = [ "10.8.0.0/24" "fd00::/8" ]; };
  services = {
    ssh.exposure = "local";
    nginx.exposure = "public";
    wireguard.exposure = "public";
    mystery.exposure = "public";
  };
}
