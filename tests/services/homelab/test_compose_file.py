"""Containers written as a compose file: read again by any YAML reader they say the same."""

from __future__ import annotations

import yaml
from google.protobuf import json_format

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.compose_file import Belongings, Exported, compose_file, dependencies


def spec(**fields: object) -> pb.Container:
    return json_format.ParseDict({"image": "busybox:1", **fields}, pb.Container())


def test_a_plain_container_is_short() -> None:
    found = compose_file("", [Exported("web", "web", spec(command=["sleep", "infinity"]))])
    assert found.text == (
        "services:\n"
        "  web:\n"
        "    image: busybox:1\n"
        "    container_name: web\n"
        "    command:\n"
        "      - sleep\n"
        "      - infinity\n"
    )
    assert found.warnings == ()


def test_every_field_is_said() -> None:
    one = spec(
        pull="PULL_POLICY_ALWAYS",
        entrypoint=["/bin/sh", "-c"],
        environment={"A": "1", "PRICE": "5$", "B": "yes", "C": "a: b", "D": "1e3", "E": "12:30", "F": ""},
        environmentFiles=["/srv/web.env"],
        secrets=[{"name": "key", "file": "/srv/key", "target": "/run/key"}],
        ports=[{"container": 80, "host": 8080, "address": "127.0.0.1", "protocol": "udp"}, {"container": 9}],
        mounts=[
            {"target": "/data", "type": "MOUNT_TYPE_VOLUME", "source": "shop_data"},
            {"target": "/anon", "type": "MOUNT_TYPE_VOLUME"},
            {
                "target": "/etc/x",
                "type": "MOUNT_TYPE_BIND",
                "source": "/x",
                "readOnly": True,
                "propagation": "rslave",
            },
        ],
        networks=[
            {"network": "shop_front", "aliases": ["www"], "ipv4Address": "10.1.0.2"},
            {"network": "lan"},
        ],
        restart={"condition": "RESTART_CONDITION_ON_FAILURE", "maximumRetries": 3},
        healthCheck={
            "command": ["wget -q localhost"],
            "interval": 1500,
            "timeout": 500,
            "retries": 2,
            "startPeriod": 9,
        },
        limits={"cpuMillis": 1500, "cpuShares": 512, "cpuset": "0-1", "memory": "67108864", "pids": 50},
        gpus={"ids": ["0"], "driver": "nvidia", "capabilities": ["gpu", "utility"]},
        labels={"app": "shop"},
        user="1000:1000",
        groups=["video"],
        readOnly=True,
        capAdd=["NET_ADMIN"],
        capDrop=["ALL"],
        privileged=False,
        securityOptions=["no-new-privileges"],
        devices=["/dev/dri"],
        sysctls={"net.core.somaxconn": "1024"},
        hostname="web",
        extraHosts=["nas:10.0.0.2"],
        dns=["10.0.0.1"],
        workingDir="/srv",
        init=True,
        tty=True,
        stdinOpen=True,
        stopSignal="SIGINT",
        stopGrace=30,
        shmSize="1048576",
        logging={"driver": "json-file", "options": {"max-size": "10m"}},
        tmpfs={"/tmp": "size=64m", "/run": ""},
        ulimits={"nofile": "1024:65536", "nproc": "100"},
        pidMode="host",
        ipcMode="private",
        runtime="crun",
    )
    own = Belongings(
        {
            "shop_front": json_format.ParseDict(
                {
                    "driver": "bridge",
                    "internal": True,
                    "addressPools": {"pools": [{"subnet": "10.1.0.0/24"}]},
                },
                pb.ContainerNetwork(),
            )
        },
        {"shop_data": pb.ContainerVolume(driver="local", options={"type": "tmpfs"})},
    )
    text = compose_file("shop", [Exported("shop-web-1", "web", one, {"db": "service_healthy"})], own)
    assert text.warnings == ()
    document = yaml.safe_load(text.text)
    assert document["name"] == "shop"
    assert document["networks"] == {
        "front": {
            "name": "shop_front",
            "driver": "bridge",
            "internal": True,
            "ipam": {"config": [{"subnet": "10.1.0.0/24"}]},
        },
        "lan": {"name": "lan", "external": True},
    }
    assert document["volumes"] == {
        "data": {"name": "shop_data", "driver": "local", "driver_opts": {"type": "tmpfs"}}
    }
    assert document["secrets"] == {"key": {"file": "/srv/key"}}
    assert document["services"]["web"] == {
        "image": "busybox:1",
        "entrypoint": ["/bin/sh", "-c"],
        "environment": {"A": "1", "PRICE": "5$$", "B": "yes", "C": "a: b", "D": "1e3", "E": "12:30", "F": ""},
        "env_file": ["/srv/web.env"],
        "labels": {"app": "shop"},
        "sysctls": {"net.core.somaxconn": "1024"},
        "user": "1000:1000",
        "group_add": ["video"],
        "read_only": True,
        "cap_add": ["NET_ADMIN"],
        "cap_drop": ["ALL"],
        "privileged": False,
        "security_opt": ["no-new-privileges"],
        "devices": ["/dev/dri"],
        "hostname": "web",
        "extra_hosts": ["nas:10.0.0.2"],
        "dns": ["10.0.0.1"],
        "working_dir": "/srv",
        "init": True,
        "tty": True,
        "stdin_open": True,
        "stop_signal": "SIGINT",
        "stop_grace_period": "30s",
        "shm_size": 1048576,
        "pid": "host",
        "ipc": "private",
        "runtime": "crun",
        "pull_policy": "always",
        "secrets": [{"source": "key", "target": "/run/key"}],
        "ports": [
            {"target": 80, "published": "8080", "host_ip": "127.0.0.1", "protocol": "udp"},
            {"target": 9, "protocol": "tcp"},
        ],
        "volumes": [
            {"type": "volume", "source": "data", "target": "/data"},
            {"type": "volume", "target": "/anon"},
            {
                "type": "bind",
                "source": "/x",
                "target": "/etc/x",
                "read_only": True,
                "bind": {"propagation": "rslave"},
            },
        ],
        "networks": {"front": {"aliases": ["www"], "ipv4_address": "10.1.0.2"}, "lan": {}},
        "restart": "on-failure:3",
        "healthcheck": {
            "test": ["CMD-SHELL", "wget -q localhost"],
            "interval": "1500ms",
            "timeout": "500ms",
            "start_period": "9ms",
            "retries": 2,
        },
        "cpus": 1.5,
        "cpu_shares": 512,
        "cpuset": "0-1",
        "mem_limit": 67108864,
        "pids_limit": 50,
        "deploy": {
            "resources": {
                "reservations": {
                    "devices": [{"capabilities": ["gpu", "utility"], "driver": "nvidia", "device_ids": ["0"]}]
                }
            }
        },
        "logging": {"driver": "json-file", "options": {"max-size": "10m"}},
        "tmpfs": ["/run", "/tmp:size=64m"],
        "ulimits": {"nofile": {"soft": 1024, "hard": 65536}, "nproc": 100},
        "depends_on": {"db": {"condition": "service_healthy"}},
    }


def test_text_that_could_be_taken_for_something_else_is_quoted() -> None:
    values = [
        "yes",
        "null",
        "1e3",
        "0x10",
        "12:30",
        "~",
        "a: b",
        "- x",
        "#",
        "",
        " ",
        "\n",
        "\x1b",
        "é",
        "a:",
    ]
    environment = {f"V{number}": value for number, value in enumerate(values)}
    found = compose_file("", [Exported("web", "web", spec(environment=environment))])
    assert yaml.safe_load(found.text)["services"]["web"]["environment"] == environment
    for value in ("yes", "null", "1e3", "0x10", "12:30"):
        assert f'"{value}"' in found.text


def test_what_compose_has_no_words_for_is_told() -> None:
    found = compose_file(
        "",
        [
            Exported("a", "a", spec(running=False, update="UPDATE_POLICY_AUTO")),
            Exported("b", "b", spec(image="sha256:" + "ab" * 32)),
            Exported("c", "c", spec(secrets=[{"name": "key", "file": "/c"}])),
            Exported("d", "d", spec(secrets=[{"name": "key", "file": "/d"}])),
        ],
    )
    assert [text.partition(":")[0] for text in found.warnings] == ["a", "a", "b", "d"]


def test_two_containers_of_a_service_become_two_services() -> None:
    found = compose_file(
        "shop", [Exported("shop-web-1", "web", spec()), Exported("shop-web-2", "web", spec())]
    )
    services = yaml.safe_load(found.text)["services"]
    assert list(services) == ["web", "web-2"]
    assert services["web-2"]["container_name"] == "shop-web-2"
    assert "container_name" not in services["web"]


def test_the_dependencies_that_compose_noted() -> None:
    labels = {"com.docker.compose.depends_on": "db:service_healthy:false,cache:service_started:true"}
    assert dependencies(labels) == {"db": "service_healthy", "cache": "service_started"}
    assert dependencies({"com.docker.compose.depends_on": "db"}) == {"db": "service_started"}
    assert dependencies({}) == {}
