{ hardware = { cpu = "vm-cpu"; gpu = "vm-gpu"; ram.sizeGB = null; }; }
