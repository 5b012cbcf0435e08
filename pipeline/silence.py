"""Whether so many devices of a tenant are silent that their way here, not the fleet, must be broken.

An attacker silences the device that is in the way. A broken agent update, network or topic silences a whole
office at once: of one tenant so many devices that nobody believes in so many attacks. Where few devices are
in use they are never so many; but if not one of them is heard, nothing shows that their way here works.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models.columns import DEVICE
from models.fingerprint import BETWEEN
from models.state import SessionTable
from pipeline.guard import Guard
from pipeline.judging import ENDED, REVOKED

_BETWEEN = BETWEEN.encode("utf-8", "surrogateescape")


def silent_fleets(table: SessionTable, at: int, guard: Guard) -> frozenset[str]:
    """The tenants whose fleet *guard* finds silent at *at*, ms of event time; it keeps who else is unheard.

    Names are read of silent sessions first: where few are silent nothing else is looked at.
    """
    rows = table.rows[: table.used]
    live = (rows["started_at"] != 0) & (rows["flags"] & (REVOKED | ENDED) == 0)
    bound = live & (rows["client"][:, DEVICE] != 0) & (rows["interval_ms"] > 0) & (rows["heard_at"] > 0)
    silent = bound & (at - rows["heard_at"] > rows["interval_ms"] * guard.rules.silent_intervals)
    fallen = _devices(table, np.flatnonzero(silent))
    fleets = _devices(table, np.flatnonzero(bound), fallen) if fallen else {}
    return guard.silent_among({name: _due(fallen[name], fleets[name]) for name in sorted(fallen)}, at)


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
