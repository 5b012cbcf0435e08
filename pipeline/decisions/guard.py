"""Whether so many devices of a tenant are silent that their way here, not the fleet, must be broken.

An attacker silences the device that is in the way. A broken agent update, network or topic silences a whole
office at once: of one tenant so many devices that nobody believes in so many attacks. Where few devices are
in use, or one region of many is cut off, they are never so many. But if not one device is heard, or some fell
silent in use in the same moment, nothing shows that the way of just these to here works.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.events.batch import DEVICE
from models.events.text_hashing import BETWEEN
from models.state.table import ENDED, REVOKED, Rows, SessionTable
from pipeline.decisions.policy import GuardLimits

MINUTE_MS: Final = 60_000
BACK_MS: Final = 5 * MINUTE_MS
"""How long after a fleet was silent its last devices may take to be heard again."""
NORMAL, HOLDING, FLEET_SILENT = 0, 1, 2


@dataclass(slots=True)
class Guard:
    """One partition's share of the budget of each tenant.

    Attributes:
        rules: the policy's bounds.
        share: this partition's part of them, in (0, 1].
        state: what it last answered, for the metric.
    """

    rules: GuardLimits
    share: float
    state: int = NORMAL
    _minute: int = 0
    _spent: dict[str, int] = field(default_factory=dict)
    _silent: dict[str, int] = field(default_factory=dict)
    _unheard: dict[str, int] = field(default_factory=dict)

    @property
    def budget(self) -> int:
        """Revocations a tenant may have in this partition in one minute of event time; at least one."""
        return max(1, math.ceil(self.rules.revocations_per_minute * self.share))

    def admit(self, tenant: str, at: int) -> bool:
        """Spend one revocation of *tenant*, if there is one left in the minute that was reached by *at* ms.

        Minutes do not run back: a late event spends what is left now.
        """
        if at // MINUTE_MS > self._minute:
            self._minute = at // MINUTE_MS
            self._spent.clear()
            self.state = NORMAL if self.state == HOLDING else self.state
        spent = self._spent.get(tenant, 0)
        if spent >= self.budget:
            self.state = HOLDING
            return False
        self._spent[tenant] = spent + 1
        return True

    def silent_among(
        self, fleets: Mapping[str, tuple[int, int]], at: int, together: Mapping[str, int] | None = None
    ) -> frozenset[str]:
        """Which tenants have, or had a short while before *at* ms, too many silent devices for attacks.

        *fleets*: of each tenant how many devices with live sessions are silent, and how many there are;
        *together*: how many of them, in use, fell silent in the same moment. When telemetry comes back, it
        does so device by device: the last ones are not attacked either. Of which tenants not a single one is
        heard, or some fell silent together, is kept for :meth:`is_unheard`.
        """
        least, share = self.rules.silent_fleet_min_devices, self.rules.silent_fleet_share
        found = [name for name, (gone, all_) in fleets.items() if gone >= least and gone >= all_ * share]
        unheard = [name for name, (gone, all_) in fleets.items() if gone >= all_]
        unheard += [name for name, gone in (together or {}).items() if gone >= least]
        self._unheard = {name: until for name, until in self._unheard.items() if until > at}
        self._unheard |= dict.fromkeys(unheard, at + BACK_MS)
        self._silent = {name: until for name, until in self._silent.items() if until > at}
        self._silent |= dict.fromkeys(found, at + BACK_MS)
        if self._silent:
            self.state = FLEET_SILENT
        elif self.state == FLEET_SILENT:
            self.state = NORMAL
        return frozenset(self._silent)

    def cannot_verify_silence(self, tenant: str) -> bool:
        """Whether all devices of *tenant* are silent, however few, or some are that fell silent together.

        Or were a short while ago. Then nothing shows that what they say could be heard here.
        """
        return tenant in self._unheard


def next_minute(at: int) -> int:
    """When a held revocation may ask again, ms."""
    return (at // MINUTE_MS + 1) * MINUTE_MS


_BETWEEN = BETWEEN.encode("utf-8", "surrogateescape")


def silent_fleets(table: SessionTable, at: int, guard: Guard) -> frozenset[str]:
    """The tenants whose fleet *guard* finds silent at *at*, ms of event time; it keeps who else is unheard.

    Devices in use count alone: most others sleep, and say nothing by that. Names are read of silent sessions
    first: where few are silent nothing else is looked at.
    """
    rows = table.rows[: table.used]
    live = (rows["started_at"] != 0) & (rows["flags"] & (REVOKED | ENDED) == 0)
    bound = live & (rows["client"][:, DEVICE] != 0) & (rows["interval_ms"] > 0) & (rows["heard_at"] > 0)
    patience, values = rows["interval_ms"] * guard.rules.silent_intervals, last_telemetry_at(rows)
    silent = bound & (at - values > patience) & (rows["client_at"] - values > patience)
    in_use = silent | (bound & (at - rows["client_at"] <= patience))
    fallen = _devices(table, np.flatnonzero(silent))
    fleets = _devices(table, np.flatnonzero(in_use), fallen) if fallen else {}
    together = _at_once(table, np.flatnonzero(silent))
    return guard.silent_among({name: _due(fallen[name], fleets[name]) for name in sorted(fallen)}, at, together)


def last_telemetry_at(rows: Rows) -> NDArray[np.int64]:
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
    return {name.decode("utf-8", "surrogateescape"): _most_at_once(devices.values()) for name, devices in spans.items()}


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
    wanted = None if tenants is None else {this_tenant.encode("utf-8", "surrogateescape") for this_tenant in tenants}
    devices: defaultdict[bytes, dict[int, int]] = defaultdict(dict)
    prints = table.rows["client"][chosen, DEVICE].tolist()
    intervals = table.rows["interval_ms"][chosen].tolist()
    for row, device, interval in zip(chosen.tolist(), prints, intervals, strict=True):
        tenant = table.names[row].partition(_BETWEEN)[0]
        if wanted is None or tenant in wanted:
            devices[tenant][device] = interval
    return {name.decode("utf-8", "surrogateescape"): found for name, found in devices.items()}
