{ configVersion = "1.0"; systemType = "server"; hostName = "old-name"; allowUnfree = false; timeZone = "UTC"; }
