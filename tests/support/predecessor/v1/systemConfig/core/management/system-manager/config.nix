{
  configVersion = "1.0";
  systemType = "server";
  allowUnfree = false;
  system = { channel = "stable"; bootloader = "grub"; };
  buildLogLevel = "normal";
  enableChecks = true;
  auto-build = false;
}
