# A gaming desktop of the first days: one flat set.
{
  systemType = "desktop";
  hostName = "luna";
  system = {
    channel = "stable";
    version = "24.11";
    bootloader = "systemd-boot";
  };
  packageModules = {
    gaming = { streaming = true; emulation = false; };
    development = { game = false; web = true; python = true; system = false; virtualization = true; };
    server = { docker = true; web = false; mail = false; };
  };
  users = {
    anna = {
      role = "admin";
      defaultShell = "zsh";
      autoLogin = true;
      initialPassword = "correct horse battery staple";
    };
    ben = { role = "guest"; defaultShell = "bash"; autoLogin = false; };
    build = { role = "virtualization"; defaultShell = "ksh"; };
  };
  desktop = {
    enable = true;
    environment = "plasma";
    display = { manager = "sddm"; server = "wayland"; session = "plasma"; };
    theme.dark = true;
    audio = "pipewire";
  };
  hardware = { cpu = "amd-ryzen"; gpu = "nvidia-intel"; memory.sizeGB = 32; };
  allowUnfree = true;
  buildLogLevel = "minimal";
  features = {
    system-logger = true;
    system-checks = true;
    system-updater = true;
    ssh-client-manager = false;
    ssh-server-manager = true;
    bootentry-manager = false;
    homelab-manager = true;
    vm-manager = true;
    ai-workspace = false;
  };
  sudo = { requirePassword = false; timeout = 15; };
  enableFirewall = true;
  timeZone = "Europe/Berlin";
  locales = [ "de_DE.UTF-8" "en_US.UTF-8" ];
  keyboardLayout = "de";
  keyboardOptions = "eurosign:e";
  overrides = { enableSSH = true; enableSteam = false; };
  email = "anna@example.org";
  domain = "example.org";
  certEmail = "certs@example.org";
  networkManager.dns = "default";
  enablePowersave = false;
}
