{
  enable = true;
  root1 = { role = "restricted-admin"; defaultShell = "fish"; autoLogin = true; };
}
