"""Fields of a service that have no effect here, each with why."""

from __future__ import annotations

# What runs is the same, or nearly.
IGNORED = {
    "annotations": "nothing on this host reads them",
    "attach": "output is read with ncc homelab logs",
    "blkio_config": "disk traffic isn't bounded",
    "cgroup_parent": "the engine chooses",
    "cpu_count": "means something on Windows only",
    "cpu_percent": "means something on Windows only",
    "cpu_rt_period": "real-time time isn't given out",
    "cpu_rt_runtime": "real-time time isn't given out",
    "develop": "is for working on the image, not for running it",
    "dns_opt": "the engine's own options are taken",
    "dns_search": "names are to be written whole",
    "domainname": "the host name alone is set",
    "expose": "containers of one network reach each other's ports anyway",
    "isolation": "means something on Windows only",
    "mem_swappiness": "the host's own is taken",
    "memswap_limit": "swap isn't bounded beside memory",
    "oom_score_adj": "the host chooses who goes first",
    "platform": "the host's own is taken",
    "pull_refresh_after": "images are fetched when they are missing",
    "storage_opt": "the engine's own is taken",
}
# Something is missing without it.
UNSUPPORTED = {
    "cgroup": "the engine chooses the namespace of control groups",
    "credential_spec": "means something on Windows only",
    "device_cgroup_rules": "name the devices under devices",
    "external_links": "put both into one network",
    "label_file": "write the labels under labels",
    "mac_address": "addresses of hardware are the engine's",
    "models": "models are not run here",
    "oom_kill_disable": "a container that outgrows its memory is ended",
    "post_start": "nothing is run beside the container's own program",
    "pre_start": "nothing is run beside the container's own program",
    "pre_stop": "nothing is run beside the container's own program",
    "provider": "no other program makes services",
    "use_api_socket": "mount the engine's socket if you must",
    "userns_mode": "the engine's own namespace of users is taken",
    "uts": "the container has a host name of its own",
    "volumes_from": "name the volumes in both services",
}
# Of deploy: for swarms.
SWARM = frozenset({"endpoint_mode", "labels", "mode", "placement", "rollback_config", "update_config"})
