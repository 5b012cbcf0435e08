"""What a session shows of its principal's habits: device, network, country, client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from models.columns import client_family, network_name

HABITS: Final = ("device", "asn", "country", "client")
MOST_HABITS: Final = 64


def networks_of(ip: str | None, asn: int | None) -> list[str]:
    """What a network is called: by its number, by its prefix, or by both.

    >>> networks_of("192.0.2.7", 64500), networks_of(None, None)
    (['as64500', '192.0.2'], [])
    """
    names = (None if asn is None else network_name(None, asn), network_name(ip, None))
    return [name for name in names if name is not None]


def are_told_alike(networks: Iterable[str], known: Iterable[str]) -> bool:
    """Whether *networks* can be missing among those *known*.

    A prefix alone may be of a network that is known by its number.

    >>> are_told_alike(["198.51.100"], ["as64500", "192.0.2"]), are_told_alike(["198.51.100"], ["192.0.2"])
    (False, True)
    """
    return any(map(_is_number, networks)) or not any(map(_is_number, known))


def _is_number(network: str) -> bool:
    return network.startswith("as")


def shown_by(event: dict[str, Any]) -> dict[str, list[str]]:
    """What the event shows of each habit it knows; a network has a number, a prefix, or both."""
    shown = {
        "device": [event["device_id"]],
        "asn": networks_of(event["ip"], event["asn"]),
        "country": [event["country"]],
        "client": [client_family(event["user_agent"]) or event["ja4"]],
    }
    told = {name: [value for value in values if value is not None] for name, values in shown.items()}
    return {name: values for name, values in told.items() if values}


def teacher(seen: Any) -> str:
    """Which session taught something, of ``[last seen, session]`` or of the session alone."""
    teacher: str = seen if isinstance(seen, str) else seen[1]
    return teacher
