{ timeZone = "Europe/Vienna"; locales = [ "de_AT.UTF-8" ]; keyboardLayout = "de"; keyboardOptions = ""; email = ""; domain = "atlas.example"; }
