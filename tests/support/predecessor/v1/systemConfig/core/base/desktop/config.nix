{ desktop = { enable = false; environment = "xfce"; audio = "none"; }; }
