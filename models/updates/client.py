"""Update of a session's client: network, software, token, key, device and place, and which of them changed.

The newest event time wins: a late event changes nothing that a newer one reported, and adds what none did.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from models.events.batch import CLIENT, DEVICE, FAMILY, JA4, KEY, NETWORK, PREFIX, TOKEN, UA, Kind
from models.events.columns import ACTION, NETWORK_TYPE, NETWORK_TYPES
from models.events.networks import HIDING
from models.events.user_agents import BACKEND
from models.features.table import INCREMENT
from models.jit import compiled
from models.updates.context import wake

_FINGERPRINTS: Final = len(CLIENT)
_HIDING: Final = np.array([name in HIDING for name in NETWORK_TYPES])
_CELLULAR: Final = NETWORK_TYPE["cellular"]
_AUTH: Final = int(Kind.AUTH)
_REFRESHED: Final = ACTION["token_refreshed"]
_NETWORK_CHANGED, _CLIENT_CHANGED = INCREMENT["network_changed"], INCREMENT["client_changed"]
_TOKEN_CHANGED, _KEY_CHANGED = INCREMENT["token_changed"], INCREMENT["key_changed"]
EARTH_RADIUS_KM: Final = 6371.0088
"""Mean radius R1 of GRS 80 (Moritz 2000)."""
NEAR_KM: Final = 100.0
"""Below this, places differ by what a geo database is wrong: no speed is computed."""
NEAR_CELLULAR_KM: Final = 1500.0
"""The same where either network is cellular, or of an unreported kind, so that it may be.

Cellular addresses are placed where the carrier's gateway stands. Such a place is no place to have come from
either, where it is known to be one: the handset was never there.
"""
NEAR_IN_COUNTRY_KM: Final = 1000.0
"""The same within a country: providers and offices have their addresses placed at the egress they share."""
_PLACED_AT_GATEWAY: Final = frozenset({"", "cellular", "unknown"})
_NEAR: Final = np.array(
    [NEAR_CELLULAR_KM if name in _PLACED_AT_GATEWAY else NEAR_KM for name in NETWORK_TYPES], np.float32
)

CLIENT_FACTS: Final = np.dtype(
    [
        ("network_changed", "?"),
        ("client_changed", "?"),  # its software or its device
        ("token_changed", "?"),
        ("key_changed", "?"),
        ("bound", "?"),  # known to live on a device
        ("device_changed", "?"),
        ("device_new", "?"),  # changed, or reported for the first time
        ("network_new", "?"),  # reported for the first time
        ("hijacked", "?"),  # same token, another network and client at once
        ("displaced", "?"),  # another network and client at once, and no token or key that says it is the same one
        ("returned", "?"),  # the network is the one before the last
        ("used_at", "<i8"),  # when its client was last used before this event, ms; 0 is never
        ("network_type", "u1"),
        ("kind", "u1"),
        ("software", "u1"),  # kind of program; 0 is not reported
        ("began_as", "u1"),  # the same of the first event that reported one
        ("speed_kmh", "<f8"),
    ]
)
"""What is known of the client after an event."""


@compiled
def keep_client(row: Any, fact: Any) -> None:
    """Copy the client's facts for an event that reports nothing about it."""
    fact.bound = row.client[DEVICE] != 0
    fact.network_type = row.network_type
    fact.kind = row.kind
    fact.began_as = row.began_as


@compiled
def apply_client(row: Any, fact: Any, fields: Any, at: int, action: int, marks: Any) -> bool:
    """Compare an event with the session's client; returns whether it reports the device.

    Args:
        row: of the session, brought up to the event. fact: record of :data:`CLIENT_FACTS`, zeroed.
        fields: record of :data:`models.events.batch.CLIENT_FIELDS`. at: the event's own time, ms.
        action: of an auth event, -1 for a call. marks: what the event adds to sums, by
        :data:`models.features.table.INCREMENT`.
    """
    newest = at >= row.client_at
    if newest:
        wake(row, at)
        row.client_at = at
    _speed(row, fact, fields, at, newest)
    of_device = fields.identity.client[DEVICE] != 0 and (newest or row.client[DEVICE] == 0)
    if not newest:
        _complete(row, fact, fields.identity.client)
    else:
        _changes(row, fact, fields.identity.client, fields.identity.software, action)
        if fields.identity.network_type != 0:
            row.network_type = fields.identity.network_type
        marks[_NETWORK_CHANGED] = fact.network_changed
        marks[_CLIENT_CHANGED] = fact.client_changed
        marks[_TOKEN_CHANGED] = fact.token_changed
        marks[_KEY_CHANGED] = fact.key_changed
    row.kind = fields.identity.kind
    if row.began_as == 0:
        row.began_as = fields.identity.software
    keep_client(row, fact)
    fact.software = fields.identity.software
    return bool(of_device)


@compiled
def _complete(row: Any, fact: Any, fields: Any) -> None:
    """Add what a late event reports first: a sign-in read after the first calls may be the only report of a device."""
    fact.device_new = fields[DEVICE] != 0 and row.client[DEVICE] == 0
    for number in range(_FINGERPRINTS):
        if row.client[number] == 0:
            row.client[number] = fields[number]


@compiled
def _changes(row: Any, fact: Any, fields: Any, software_of: int, action: int) -> None:
    changed, same = np.uint32(0), np.uint32(0)
    fact.returned = _leave(row, fields)
    comes_back = _comes_back(row, fields, software_of)
    nowhere = row.client[NETWORK] == 0 and row.client[PREFIX] == 0
    numbered = fields[NETWORK] != 0 and row.client[NETWORK] != 0
    fact.network_new = nowhere and (fields[NETWORK] != 0 or fields[PREFIX] != 0)
    fact.device_new = fields[DEVICE] != 0 and fields[DEVICE] != row.client[DEVICE]
    for number in range(_FINGERPRINTS):
        if fields[number] != 0:
            if fields[number] == row.client[number]:
                same |= np.uint32(1 << number)
            elif row.client[number] != 0:
                changed |= np.uint32(1 << number)
            row.client[number] = fields[number]
    software = changed >> FAMILY & 1 or (changed >> JA4 & 1 and same >> UA & 1)
    fact.network_changed = changed >> NETWORK & 1 or (changed >> PREFIX & 1 and not numbered)
    fact.device_changed = changed >> DEVICE & 1
    fact.client_changed = software or fact.device_changed
    fact.token_changed = changed >> TOKEN & 1
    fact.key_changed = changed >> KEY & 1
    moved = action in (-1, _REFRESHED) and fact.network_changed and fact.client_changed and not same >> KEY & 1
    moved &= fact.device_changed or not comes_back
    fact.hijacked = moved and same >> TOKEN & 1
    fact.displaced = moved and not same >> TOKEN & 1


@compiled
def _comes_back(row: Any, fields: Any, software: int) -> bool:
    """Remember the client that is not a server's; returns whether, after calls of a server, it is the one as before.

    A server that calls on behalf of a person is another client on another network, and between its calls the person's
    own client calls. That has not moved as long as its software or its network is the same.
    """
    if software == BACKEND or fields[FAMILY] == 0:
        return False
    own = row.own_client
    same_network, known = True, False
    for place, number in enumerate((NETWORK, PREFIX)):
        if own[place] != 0 and fields[number] != 0:
            known = True
            same_network &= own[place] == fields[number]
    was_a_server = own[2] != 0 and row.client[FAMILY] != own[2]
    comes_back = was_a_server and (own[2] == fields[FAMILY] or (known and same_network))
    own[2] = fields[FAMILY]
    for place, number in enumerate((NETWORK, PREFIX)):
        if fields[number] != 0:
            own[place] = fields[number]
    return comes_back


@compiled
def _leave(row: Any, fields: Any) -> bool:
    """Remember the network that the session leaves, if it does; returns whether it goes back to the one before.

    A laptop whose VPN drops, or a company with two exits, goes back and forth between two networks.
    """
    went, returns = False, True
    for place, number in enumerate((NETWORK, PREFIX)):
        before, now = row.client[number], fields[number]
        if before != 0 and now != 0:
            went |= before != now
            returns &= now == row.former_network[place]
    if went:
        row.former_network[0], row.former_network[1] = row.client[NETWORK], row.client[PREFIX]
    return went and returns


@compiled
def _speed(row: Any, fact: Any, fields: Any, at: int, newest: bool) -> None:  # noqa: FBT001 - a fact of the event among others
    """km/h between an event's place and the last, 0 where either is unknown or hidden by its network.

    What stayed in its network did not travel: the geo database was corrected. It has the kind that the
    network had, where the event does not tell one. How far a place may be wrong stays with it.
    """
    place, kind, country = fields.place, fields.identity.network_type, fields.identity.country
    stayed = fields.identity.client[PREFIX] != 0 and fields.identity.client[PREFIX] == row.client[PREFIX]
    same = stayed or (fields.identity.client[NETWORK] != 0 and fields.identity.client[NETWORK] == row.client[NETWORK])
    if kind == 0 and same:
        kind = row.network_type
    if not newest or math.isnan(place[0]) or math.isnan(place[1]) or _HIDING[kind]:
        return
    if row.place_at != 0 and not stayed:
        gone = distance_km(row.place[0], row.place[1], place[0], place[1])
        near = max(_NEAR[kind], row.place_near_km)
        if country != 0 and country == row.place_country:
            near = max(near, NEAR_IN_COUNTRY_KM)
        if gone > near:
            fact.speed_kmh = gone / (max(at - row.place_at, 1000) / 3_600_000.0)
    if kind != _CELLULAR:
        row.place_at = at
        row.place[0], row.place[1] = place[0], place[1]
        row.place_near_km, row.place_country = _NEAR[kind], country


def near_km(network_type: str | None) -> float:
    """How far the place of an address in such a network may be wrong, km."""
    return float(_NEAR[NETWORK_TYPE[network_type]])


@compiled
def distance_km(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """Great-circle distance by haversines: degrees in, kilometres out."""
    a, b = math.radians(np.float64(latitude)), math.radians(np.float64(longitude))
    c, d = math.radians(np.float64(to_latitude)), math.radians(np.float64(to_longitude))
    h = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(h, 1.0)))
