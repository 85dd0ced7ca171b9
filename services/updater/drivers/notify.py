"""Tells people: a program, or a post to a web address that stands in a file."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence

from common.errors import HostUnavailable, InvalidRequest, NotFound, WrongState
from common.process import run

_TIMEOUT = 30.0
_LONGEST = 8_192


class HostNotifier:
    """On this machine, over its network."""

    def command(self, argv: Sequence[str], body: bytes) -> None:
        run(list(argv), input=body, timeout=_TIMEOUT)

    def webhook(self, file: str, body: bytes) -> None:
        address = _address(file)
        request = urllib.request.Request(  # noqa: S310  # the scheme was looked at
            address, data=body, headers={"Content-Type": "application/json", "User-Agent": "nixcc"}
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT):  # noqa: S310
                pass
        except urllib.error.HTTPError as error:
            error.close()
            raise HostUnavailable(f"the address in {file} answered {error.code}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise HostUnavailable(
                f"the address in {file} can't be reached: {type(reason).__name__}"
            ) from None


def _address(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as lines:
            address = lines.readline(_LONGEST).strip()
    except FileNotFoundError:
        raise NotFound(f"there is no {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WrongState(f"{file} can't be read: {error}") from None
    if not address.startswith(("https://", "http://")):
        raise InvalidRequest(f"the first line of {file} is no web address")
    return address
