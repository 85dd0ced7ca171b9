from __future__ import annotations

from typing import Any

import pytest

from services.system.drivers.option_index import OptionIndex
from services.system.options import paths
from services.system.options.validation import MOST, validate


def told(index: OptionIndex, options: dict[str, Any]) -> list[tuple[str, str]]:
    return [(paths.show(wrong.path), wrong.description) for wrong in validate(index, options)]


def test_a_configuration_that_fits(index: OptionIndex) -> None:
    options = {
        "networking": {"hostName": "web", "firewall": {"enable": True, "allowedTCPPorts": [22, 443]}},
        "users": {
            "users": {"alice": {"isNormalUser": True, "shell": {"_package": "zsh"}, "extraGroups": ["wheel"]}}
        },
        "services": {
            "nginx": {"virtualHosts": {"a.b": {"root": "/srv", "listen": [{"port": 80}]}}},
            "openssh": {"settings": {"PermitRootLogin": "no", "MaxAuthTries": 3}},
        },
    }

    assert told(index, options) == []


@pytest.mark.parametrize(
    ("options", "path", "part"),
    [
        ({"networking": {"hostname": "x"}}, "networking.hostname", "did you mean networking.hostName?"),
        ({"networkin": {}}, "networkin", "did you mean networking?"),
        (
            {"networking": {"firewall": {"enable": "yes"}}},
            "networking.firewall.enable",
            "takes boolean, not the text 'yes'",
        ),
        (
            {"networking": {"firewall": {"allowedTCPPorts": [22, 70000]}}},
            "networking.firewall.allowedTCPPorts[1]",
            "65535",
        ),
        (
            {"networking": {"firewall": {"allowedTCPPorts": 22}}},
            "networking.firewall.allowedTCPPorts",
            "takes list of",
        ),
        ({"networking": True}, "networking", "is no option"),
        (
            {"users": {"users": {"alice": {"shel": 1}}}},
            "users.users.alice.shel",
            "did you mean users.users.alice.shell?",
        ),
        (
            {"users": {"users": {"alice": {"extraGroups": [1]}}}},
            "users.users.alice.extraGroups[0]",
            "takes string",
        ),
        (
            {"services": {"nginx": {"virtualHosts": {"a.b": {"root": "srv"}}}}},
            'services.nginx.virtualHosts."a.b".root',
            "path",
        ),
        (
            {"services": {"nginx": {"virtualHosts": {"x": {"listen": [{"port": -1}]}}}}},
            "services.nginx.virtualHosts.x.listen[0].port",
            "65535",
        ),
        (
            {"services": {"openssh": {"settings": {"PermitRootLogin": "maybe"}}}},
            "services.openssh.settings.PermitRootLogin",
            "one of",
        ),
        ({"system": {"nixos": {"version": "1"}}}, "system.nixos.version", "read-only"),
        ({"system": {"stateVersion": 24.05}}, "system.stateVersion", "write it with quotes"),
    ],
)
def test_what_does_not_fit_has_its_path_and_the_expected_type(
    index: OptionIndex, options: dict[str, Any], path: str, part: str
) -> None:
    ((where, why),) = told(index, options)

    assert where == path
    assert part in why


def test_everything_wrong_is_told_at_once_up_to_a_limit(index: OptionIndex) -> None:
    assert len(told(index, {f"wrong{number}": 1 for number in range(50)})) == 50
    assert len(told(index, {f"wrong{number}": 1 for number in range(MOST + 50)})) == MOST


def test_nixos_itself_takes_what_its_manual_shows(whole: OptionIndex) -> None:
    options = {
        "networking": {"firewall": {"allowedTCPPorts": [80], "allowedTCPPortRanges": [{"from": 1, "to": 2}]}},
        "services": {
            "openssh": {"enable": True, "settings": {"PasswordAuthentication": False, "X": "y"}},
            "nginx": {
                "enable": True,
                "virtualHosts": {"example.org": {"root": "/var/www", "forceSSL": True}},
            },
        },
        "users": {"users": {"alice": {"isNormalUser": True, "extraGroups": ["wheel"]}}},
        "time": {"timeZone": "Europe/Berlin"},
        "environment": {"systemPackages": [{"_package": "hello"}]},
    }

    assert told(whole, options) == []
    (wrong,) = told(whole, {"services": {"openssh": {"enable": "yes"}}})
    assert wrong[0] == "services.openssh.enable"
