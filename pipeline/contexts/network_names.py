"""Names of a network, by which the contexts compare where events came from."""

from __future__ import annotations

from collections.abc import Iterable

from models.events.columns import network_name


def network_names(ip: str | None, asn: int | None) -> list[str]:
    """The names of a network: its AS number, its address prefix, or both.

    >>> network_names("192.0.2.7", 64500), network_names(None, None)
    (['as64500', '192.0.2'], [])
    """
    names = (None if asn is None else network_name(None, asn), network_name(ip, None))
    return [name for name in names if name is not None]


def are_comparable(networks: Iterable[str], known: Iterable[str]) -> bool:
    """Whether it means anything that none of *networks* is among those *known*.

    A prefix alone may belong to a network that is known by its AS number only.

    >>> are_comparable(["198.51.100"], ["as64500", "192.0.2"]), are_comparable(["198.51.100"], ["192.0.2"])
    (False, True)
    """
    return any(map(_is_number, networks)) or not any(map(_is_number, known))


def _is_number(network: str) -> bool:
    return network.startswith("as")
