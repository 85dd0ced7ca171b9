# The control center on a machine of its own: `nix build .#checks.x86_64-linux.control-center`.
{ nixcc }:

{
  name = "nixcc";

  nodes.machine = { pkgs, ... }: {
    imports = [ nixcc ];
    services.nixcc.enable = true;
    virtualisation.libvirtd.enable = true;
    virtualisation.memorySize = 2048;
    environment.etc."manifest.yaml".text = ''
      kind: Sysctl
      metadata: {name: swappiness}
      spec: {name: vm.swappiness, value: "17"}
      ---
      kind: File
      metadata: {name: greeting}
      spec: {path: /var/lib/greeting, content: "hello\n", mode: "0644", owner: root, group: root}
    '';
    # What a mount by the hardware service must show to everybody.
    environment.etc."mount.yaml".text = ''
      kind: Mount
      metadata: {name: scratch}
      spec: {source: tmpfs, mount_point: /mnt/scratch, fs_type: tmpfs}
    '';
  };

  testScript = ''
    machine.start()
    for service in ("reconciler", "system", "hardware", "vm", "packages", "updater", "homelab"):
        machine.wait_for_unit(f"nixcc-{service}.service")
    machine.wait_until_succeeds("ncc doctor")

    with subtest("what is declared is so"):
        machine.succeed("ncc apply -f /etc/manifest.yaml --wait")
        assert machine.succeed("sysctl -n vm.swappiness").strip() == "17"
        assert machine.succeed("cat /var/lib/greeting") == "hello\n"

    with subtest("a mount reaches the host's namespace"):
        machine.succeed("ncc apply -f /etc/mount.yaml --wait")
        machine.succeed("findmnt /mnt/scratch")

    with subtest("nobody else may ask"):
        machine.fail("su -s /bin/sh nobody -c 'ncc get Sysctl'")

    with subtest("a killed service comes back"):
        machine.succeed("systemctl kill -s KILL nixcc-system.service")
        machine.wait_for_unit("nixcc-system.service")
        machine.wait_until_succeeds("ncc get Sysctl swappiness")

    with subtest("no restriction was in the way"):
        machine.fail("journalctl -b -u 'nixcc-*' | grep -E 'Operation not permitted|Read-only file system'")
  '';
}
