let
  gb = 1024;
in
{
  core = {
    management.system-manager = {
      configVersion = "2.0";
      layout = "monolith";
      systemType = "desktop";
      system.channel = "unstable";
      allowUnfree = true;
      components.channelManager = { enableNotify = true; checkInterval = "weekly"; };
    };
    management.cli-formatter.enable = true;
    base = {
      boot.bootloader = "systemd-boot";
      audio = { enable = true; system = "pipewire"; };
      localization = { locales = [ "en_GB.UTF-8" ]; keyboardLayout = "gb"; keyboardOptions = ""; timeZone = "Europe/London"; };
      desktop = {
        enable = true;
        environment = "gnome";
        display = { manager = "gdm"; server = "hybrid"; session = "gnome"; };
        theme.dark = false;
        pinnedApps = [ "firefox.desktop" ];
        pinnedAppsAuto = true;
        pinnedAppsForce = false;
      };
      hardware = { cpu = "intel-core"; gpu = "amd"; ram.sizeGB = 64; };
      network = {
        enable = true;
        hostName = "vega";
        networkManager.dns = "default";
        firewall = { enable = true; trustedNetworks = [ ]; };
        services = { };
        wifi = {
          enable = true;
          preserveSystemConnections = true;
          networks.Home = { ssid = "Home Sweet Home"; psk = "wifi-passphrase-in-clear"; autoconnect = true; priority = 10; };
          networks."Café 5" = { pskFile = "/etc/nixos/secrets/wifi/cafe.psk"; };
        };
      };
      packages = {
        packageModules = [ "gaming" "system-dev" "qemu-vm" "virt-manager" ];
        systemPackages = [ "firefox" "kdePackages.kate" "not a package" ];
        userPackages.carol = [ "vscode" ];
        preset.modules = [ ];
        docker = { enable = true; root = null; };
      };
      user = {
        carol = { role = "admin"; defaultShell = "fish"; autoLogin = false; initialPassword = "carols-first-password"; };
        dave = { role = "restricted-admin"; defaultShell = "bash"; autoLogin = true; };
      };
    };
  };
  modules = {
    infrastructure = {
      homelab-manager = { enable = false; swarm = null; stacks = [ ]; };
      bootentry-manager.enable = false;
      vm = {
        enable = true;
        storage.enable = false;
        stateDir = "/var/lib/virt";
        testing.fedora.vm = {
          enable = true;
          memory = 4 * gb;
          cores = 2;
          variant = "workstation";
          image = { size = 40; };
          remote = { enable = true; displayPort = 5901; };
        };
        testing.arch.vm.enable = false;
      };
    };
    security = {
      ssh-server-manager = { enable = true; banner = ""; };
      ssh-client-manager = { enable = false; keyType = "ed25519"; };
    };
    specialized.ai-workspace.enable = false;
    specialized.nixify = { enable = true; webService.port = 8080; };
    system.lock = { enable = true; encryption.fido2.pin = "123456-pin"; };
  };
  custom.helper = x: x + 1;
}
