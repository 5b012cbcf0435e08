"""Whether so many devices of a tenant are silent that their way here, not the fleet, must be broken.

An attacker silences the device that is in the way. A broken agent update, network or topic silences a whole
office at once: of one tenant so many devices that nobody believes in so many attacks. Where few devices are
in use, or one region of many is cut off, they are never so many. But if not one device is heard, or some fell
silent in use in the same moment, nothing shows that the way of just these to here works.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from models.batch import DEVICE
from models.fingerprint import BETWEEN
from models.state import Rows, SessionTable
from pipeline.guard import Guard
from pipeline.overload import ENDED, REVOKED

_BETWEEN = BETWEEN.encode("utf-8", "surrogateescape")


def silent_fleets(table: SessionTable, at: int, guard: Guard) -> frozenset[str]:
    """The tenants whose fleet *guard* finds silent at *at*, ms of event time; it keeps who else is unheard.

    Devices in use count alone: most others sleep, and say nothing by that. Names are read of silent sessions
    first: where few are silent nothing else is looked at.
    """
    rows = table.rows[: table.used]
    live = (rows["started_at"] != 0) & (rows["flags"] & (REVOKED | ENDED) == 0)
    bound = live & (rows["client"][:, DEVICE] != 0) & (rows["interval_ms"] > 0) & (rows["heard_at"] > 0)
    patience, heard = rows["interval_ms"] * guard.rules.silent_intervals, heard_at(rows)
    silent = bound & (at - heard > patience) & (rows["client_at"] - heard > patience)
    in_use = silent | (bound & (at - rows["client_at"] <= patience))
    fallen = _devices(table, np.flatnonzero(silent))
    fleets = _devices(table, np.flatnonzero(in_use), fallen) if fallen else {}
    together = _at_once(table, np.flatnonzero(silent))
    return guard.silent_among(
        {name: _due(fallen[name], fleets[name]) for name in sorted(fallen)}, at, together
    )


def heard_at(rows: Rows) -> NDArray[np.int64]:
    """From when on each session's device says nothing, ms: since it was heard, or woke with its session."""
    woken = rows["woken_s"].astype(np.int64) * 1000 - rows["interval_ms"]
    since: NDArray[np.int64] = np.maximum(rows["heard_at"], woken)
    return since


def _at_once(table: SessionTable, chosen: NDArray[np.int64]) -> dict[str, int]:
    """By tenant, how many of the devices in the *chosen* rows one moment may have silenced.

    A device was silenced between its last report and the one that was due next.
    """
    spans: defaultdict[bytes, dict[int, tuple[int, int]]] = defaultdict(dict)
    for row in chosen.tolist():
        last, device = int(table.rows["heard_at"][row]), int(table.rows["client"][row, DEVICE])
        devices = spans[table.names[row].partition(_BETWEEN)[0]]
        devices[device] = max(devices.get(device, (0, 0)), (last, last + int(table.rows["interval_ms"][row])))
    return {
        name.decode("utf-8", "surrogateescape"): _most_at_once(devices.values())
        for name, devices in spans.items()
    }


def _most_at_once(spans: Iterable[tuple[int, int]]) -> int:
    """How many of the *spans* (from, to) meet in one moment, at most."""
    steps = sorted(step for since, until in spans for step in ((since, 1), (until, -1)))
    return max(accumulate(step for _, step in steps), default=0)


def _due(fallen: dict[int, int], fleet: dict[int, int]) -> tuple[int, int]:
    """How many devices are silent, of how many that report as often as the slowest silent one.

    Who reports more seldom was not due yet, and says neither this nor that.
    """
    slowest = max(fallen.values())
    return len(fallen), sum(interval <= slowest for interval in fleet.values())


def _devices(
    table: SessionTable, chosen: NDArray[np.int64], tenants: Iterable[str] | None = None
) -> dict[str, dict[int, int]]:
    """By tenant the devices of the sessions in the *chosen* rows, each with its interval in ms.

    Of *tenants* alone, if given.
    """
    wanted = None if tenants is None else {one.encode("utf-8", "surrogateescape") for one in tenants}
    devices: defaultdict[bytes, dict[int, int]] = defaultdict(dict)
    prints = table.rows["client"][chosen, DEVICE].tolist()
    intervals = table.rows["interval_ms"][chosen].tolist()
    for row, device, interval in zip(chosen.tolist(), prints, intervals, strict=True):
        tenant = table.names[row].partition(_BETWEEN)[0]
        if wanted is None or tenant in wanted:
            devices[tenant][device] = interval
    return {name.decode("utf-8", "surrogateescape"): found for name, found in devices.items()}
