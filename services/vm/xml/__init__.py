"""libvirt's XML to spec messages and back. Elements are edited in place, so that what a spec can't say survives."""
