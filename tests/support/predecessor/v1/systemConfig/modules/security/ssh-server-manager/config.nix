{ enable = true; banner = "Authorised people only.\n"; }
