"""Backups of the control center's own state and of /etc/nixos: kind StateBackup and nixcc.system.v1.BackupService."""
