"""What a chunk tells of the client: network, software, token, key, device, place; and what of it changed.

Newest by event time wins: a late event changes nothing that a newer one said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.columns import ACTION, CLIENT, NETWORK_TYPE, NETWORK_TYPES, Batch, Kind
from models.networks import HIDING
from models.rolling import Bools, Floats, Segments, before_each, largest_so_far, last_where
from models.state import Rows

_AT: Final = {name: column for column, name in enumerate(CLIENT)}
_HIDING: Final = np.array([name in HIDING for name in NETWORK_TYPES])
_CELLULAR: Final = NETWORK_TYPE["cellular"]
EARTH_RADIUS_KM: Final = 6371.0088
"""Mean radius R1 of GRS 80 (Moritz 2000)."""
NEAR_KM: Final = 100.0
"""Below this, places differ by what a geo database is wrong: no speed is computed."""
NEAR_CELLULAR_KM: Final = 1500.0
"""The same on a cellular network, whose addresses are placed where its carrier's gateway stands.

Such a place is no place to have come from either: the handset was never there.
"""


@dataclass(slots=True)
class ClientView:
    """Facts of the client after each event, ``(n,)`` each."""

    facts: dict[str, NDArray[Any]]


def follow_client(batch: Batch, seg: Segments, before: Rows, after: Rows) -> ClientView:
    """Compare each event with what its session last told of its client."""
    n = len(batch)
    network_type = before["network_type"][seg.of]
    if batch.kind not in (Kind.AUTH, Kind.CALL):
        nothing = np.zeros(n, np.bool_)
        names = (
            "network_changed", "client_changed", "token_changed", "key_changed", "device_changed", "hijacked",
            "network_new",
        )  # fmt: skip
        facts: dict[str, NDArray[Any]] = dict.fromkeys(names, nothing)
        facts |= {
            "bound": before["client"][seg.of, _AT["device"]] != 0,
            "speed_kmh": np.zeros(n),
            "network_type": network_type,
            "kind": before["kind"][seg.of],
            "software": np.zeros(n, np.uint8),
            "began_as": before["began_as"][seg.of],
        }
        return ClientView(facts)
    newest = _newest(batch, seg, before, after)
    facts = _changes(batch, seg, newest, before, after)
    told = newest & (batch.columns["network_type"][seg.order] != 0)
    facts["network_type"] = _latest(
        batch.columns["network_type"][seg.order], told, "network_type", seg, before, after
    )
    facts["speed_kmh"] = _speed(batch, seg, newest, facts.pop("stayed"), before, after)
    facts |= _software(batch, seg, before, after)
    kind = batch.columns["principal_kind"][seg.order]
    facts["kind"] = kind
    after["kind"] = kind[seg.lasts]
    return ClientView(facts)


def _newest(batch: Batch, seg: Segments, before: Rows, after: Rows) -> Bools:
    """Which events are not older than what was already told."""
    at = batch.at[seg.order]
    reached = largest_so_far(at, before["client_at"], seg)
    after["client_at"] = reached[seg.lasts]
    newest: Bools = at == reached
    return newest


def _latest(
    values: NDArray[Any], told: Bools, name: str, seg: Segments, before: Rows, after: Rows
) -> NDArray[Any]:
    """A column's newest value after each event, kept in the row as *name*."""
    where = last_where(told, seg)
    latest = np.where(where >= 0, values[where], before[name][seg.of])
    after[name] = latest[seg.lasts]
    return latest


def _changes(
    batch: Batch, seg: Segments, newest: Bools, before: Rows, after: Rows
) -> dict[str, NDArray[Any]]:
    told = batch.columns["client"][seg.order]
    present = newest[:, None] & (told != 0)
    where = last_where(present, seg)
    earlier = before_each(where, seg)
    column = np.arange(len(CLIENT))
    held = before["client"][seg.of]
    was = np.where(earlier >= 0, told[earlier, column], held)
    now = np.where(where >= 0, told[where, column], held)
    after["client"] = now[seg.lasts]
    changed = present & (was != 0) & (told != was)
    same = present & (told == was)
    software = changed[:, _AT["family"]] | (changed[:, _AT["ja4"]] & same[:, _AT["ua"]])
    client = software | changed[:, _AT["device"]]
    numbered = present[:, _AT["network"]] & (was[:, _AT["network"]] != 0)
    moved = changed[:, _AT["network"]] | (changed[:, _AT["prefix"]] & ~numbered)
    where_from = [_AT["network"], _AT["prefix"]]
    again = np.ones(len(batch), np.bool_)
    if batch.kind is Kind.AUTH:
        again = batch.columns["action"][seg.order] == ACTION["token_refreshed"]
    return {
        "network_changed": moved,
        "client_changed": client,
        "token_changed": changed[:, _AT["token"]],
        "key_changed": changed[:, _AT["key"]],
        "bound": now[:, _AT["device"]] != 0,
        "device_told": where[:, _AT["device"]],
        "device_changed": changed[:, _AT["device"]],
        "device_new": present[:, _AT["device"]] & (told != was)[:, _AT["device"]],
        "network_new": (present & (told != was))[:, where_from].any(axis=1) & ~was[:, where_from].any(axis=1),
        "stayed": same[:, _AT["prefix"]],
        "hijacked": again & moved & client & ~changed[:, _AT["token"]] & ~same[:, _AT["key"]],
    }


def _software(batch: Batch, seg: Segments, before: Rows, after: Rows) -> dict[str, NDArray[Any]]:
    """The kind of program of each event (0: not told), and of the first event that told one."""
    software = batch.columns["software"][seg.order]
    n = len(batch)
    first = np.minimum.reduceat(np.where(software != 0, np.arange(n), n), seg.starts)[seg.of]
    here = np.where(np.arange(n) >= first, software[np.minimum(first, n - 1)], 0)
    held = before["began_as"][seg.of]
    began_as = np.where(held != 0, held, here).astype(np.uint8)
    after["began_as"] = began_as[seg.lasts]
    return {"software": software, "began_as": began_as}


def _speed(batch: Batch, seg: Segments, newest: Bools, stayed: Bools, before: Rows, after: Rows) -> Floats:
    """km/h between each event's place and the last, 0 where either is unknown or hidden by its network.

    What *stayed* in its network did not travel: the geo database was corrected.
    """
    place = batch.columns["place"][seg.order]
    at = batch.at[seg.order]
    network_type = batch.columns["network_type"][seg.order]
    placed = newest & ~np.isnan(place).any(axis=1) & ~_HIDING[network_type]
    cellular = network_type == _CELLULAR
    where = last_where(placed & ~cellular, seg)
    earlier = before_each(where, seg)
    came_at = np.where(earlier >= 0, at[earlier], before["place_at"][seg.of])
    came = np.where((earlier >= 0)[:, None], place[earlier], before["place"][seg.of])
    speed = np.zeros(len(batch))
    known = np.flatnonzero(placed & ~stayed & (came_at != 0))
    if known.size:
        gone = distance_km(came[known], place[known])
        hours = np.maximum(at[known] - came_at[known], 1000) / 3_600_000.0
        near = np.where(cellular[known], NEAR_CELLULAR_KM, NEAR_KM)
        speed[known] = np.where(gone > near, gone / hours, 0.0)
    last = where[seg.lasts]
    after["place_at"] = np.where(last >= 0, at[last], before["place_at"])
    after["place"] = np.where((last >= 0)[:, None], place[last], before["place"])
    return speed


def distance_km(here: NDArray[Any], there: NDArray[Any]) -> Floats:
    """Great-circle distance by haversines: ``(n, 2)`` degrees of latitude and longitude, kilometres out."""
    (a, b), (c, d) = (np.ascontiguousarray(np.radians(place.astype(np.float64)).T) for place in (here, there))
    h = np.sin((c - a) / 2) ** 2 + np.cos(a) * np.cos(c) * np.sin((d - b) / 2) ** 2
    answer: Floats = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(h, 1.0)))
    return answer
