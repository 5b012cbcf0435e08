"""Names of a network, by which the contexts compare where events came from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from models.events.networks import network_name

_CUT_FROM_TEXT: Final = re.compile("[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}:[0-9a-fA-F]{0,4}")


def network_names(ip: str | None, asn: int | None) -> list[str]:
    """The names of a network: its AS number, its address prefix, or both.

    >>> network_names("192.0.2.7", 64500), network_names(None, None)
    (['as64500', '192.0.2'], [])
    """
    names = (None if asn is None else network_name(None, asn), network_name(ip, None))
    return [name for name in names if name is not None]


def as_named_now(name: str) -> str:
    """The present name of a network that a former version stored: it cut IPv6 prefixes from the text of an address.

    >>> as_named_now("2001:db8:"), as_named_now("2001:0db8:0001"), as_named_now("192.0.2"), as_named_now("as64500")
    ('2001:db8:0', '2001:db8:1', '192.0.2', 'as64500')
    """
    return network_name(f"{name.rstrip(':')}::", None) or name if _CUT_FROM_TEXT.fullmatch(name) else name


def are_comparable(networks: Iterable[str], known: Iterable[str]) -> bool:
    """Whether it means anything that none of *networks* is among those *known*.

    A prefix alone may belong to a network that is known by its AS number only.

    >>> are_comparable(["198.51.100"], ["as64500", "192.0.2"]), are_comparable(["198.51.100"], ["192.0.2"])
    (False, True)
    """
    return any(map(_is_number, networks)) or not any(map(_is_number, known))


def _is_number(network: str) -> bool:
    return network.startswith("as")
