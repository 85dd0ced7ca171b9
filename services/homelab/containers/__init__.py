"""What containers, networks, volumes and images have in common."""
