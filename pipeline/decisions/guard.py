"""The guard against mass revocation: a budget per tenant, and a check for fleets whose telemetry is cut off.

An attacker silences the one device that is in the way. A broken agent update, network or topic silences a whole office
at once: so many devices of one tenant that so many attacks are implausible. Where few devices are in use, or one region
of many is cut off, the number is never that large. But if not a single device sends telemetry, or several in use fell
silent at the same moment, nothing shows that telemetry from just these devices can arrive.
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
from models.state.table import ENDED, REVOKED, Rows, SessionTable, join, split, tenant_of
from pipeline.decisions.policy import GuardLimits
from pipeline.times import MINUTE_MS

RECOVERY_MS: Final = 5 * MINUTE_MS
"""How long the last devices of a silent fleet may take to send telemetry again."""
NORMAL, HOLDING, FLEET_SILENT = 0, 1, 2


@dataclass(slots=True)
class Guard:
    """One partition's share of each tenant's budget, and the tenants whose silence is not their devices' own.

    Attributes:
        limits: the policy's.
        share: this partition's part of the budget, in (0, 1].
        state: NORMAL, HOLDING or FLEET_SILENT, for the metric.
    """

    limits: GuardLimits
    share: float
    state: int = NORMAL
    _minute: int = 0
    _spent: dict[str, int] = field(default_factory=dict)
    _silent_until: dict[str, int] = field(default_factory=dict)
    _unverified_until: dict[str, int] = field(default_factory=dict)

    @property
    def budget(self) -> int:
        """Revocations that a tenant may have in this partition in one minute of event time; at least one."""
        return max(1, math.ceil(self.limits.revocations_per_minute * self.share))

    def admit(self, tenant: str, at_ms: int) -> bool:
        """Spend one revocation of *tenant* if any is left in the newest minute of event time, which *at_ms* may start.

        Minutes never go back: a late event spends from the newest one.
        """
        if at_ms // MINUTE_MS > self._minute:
            self._minute = at_ms // MINUTE_MS
            self._spent.clear()
            self.state = NORMAL if self.state == HOLDING else self.state
        spent = self._spent.get(tenant, 0)
        if spent >= self.budget:
            self.state = HOLDING
            return False
        self._spent[tenant] = spent + 1
        return True

    def silent_among(
        self, fleets: Mapping[str, tuple[int, int]], at_ms: int, together: Mapping[str, int] | None = None
    ) -> frozenset[str]:
        """Tenants that have, or had within :data:`RECOVERY_MS`, too many silent devices for attacks to be plausible.

        Telemetry returns device by device, so the last devices to return are not under attack either. Tenants without
        any device that sends telemetry, or with several that fell silent together, are remembered for
        :meth:`cannot_verify_silence`.

        Args:
            fleets: by tenant, how many devices with live sessions are silent, and how many there are.
            at_ms: event time.
            together: by tenant, how many devices in use fell silent at the same moment.
        """
        min_devices, min_share = self.limits.silent_fleet_min_devices, self.limits.silent_fleet_share
        too_many = [
            tenant
            for tenant, (silent, devices) in fleets.items()
            if silent >= min_devices and silent >= devices * min_share
        ]
        unverified = [tenant for tenant, (silent, devices) in fleets.items() if silent >= devices]
        unverified += [tenant for tenant, silent in (together or {}).items() if silent >= min_devices]
        self._unverified_until = _extended(self._unverified_until, unverified, at_ms)
        self._silent_until = _extended(self._silent_until, too_many, at_ms)
        if self._silent_until:
            self.state = FLEET_SILENT
        elif self.state == FLEET_SILENT:
            self.state = NORMAL
        return frozenset(self._silent_until)

    def cannot_verify_silence(self, tenant: str) -> bool:
        """Whether nothing shows that telemetry from *tenant*'s devices can arrive.

        All of them are silent, however few they are, or several fell silent together, now or a short while ago.
        """
        return tenant in self._unverified_until


def _extended(until: dict[str, int], tenants: Iterable[str], at_ms: int) -> dict[str, int]:
    """*until* without what is over at *at_ms*, and with *tenants* for :data:`RECOVERY_MS` from then."""
    current = {tenant: end for tenant, end in until.items() if end > at_ms}
    return current | dict.fromkeys(tenants, at_ms + RECOVERY_MS)


def next_minute(at_ms: int) -> int:
    """When a held revocation may be tried again, ms."""
    return (at_ms // MINUTE_MS + 1) * MINUTE_MS


def silent_fleets(table: SessionTable, at_ms: int, guard: Guard) -> frozenset[str]:
    """The tenants whose fleet *guard* finds silent at *at_ms* of event time; it also learns which are unverified.

    Only devices in use count: most others sleep, so their silence means nothing. Names of silent sessions are read
    first: where few are silent, nothing else is read.
    """
    rows = table.rows[: table.used]
    live = (rows["started_at"] != 0) & (rows["flags"] & (REVOKED | ENDED) == 0)
    bound = live & (rows["client"][:, DEVICE] != 0) & (rows["interval_ms"] > 0) & (rows["heard_at"] > 0)
    patience_ms, telemetry_at = rows["interval_ms"] * guard.limits.silent_intervals, last_telemetry_at(rows)
    silent = bound & (at_ms - telemetry_at > patience_ms) & (rows["client_at"] - telemetry_at > patience_ms)
    in_use = silent | (bound & (at_ms - rows["client_at"] <= patience_ms))
    silent_devices = _devices(table, np.flatnonzero(silent))
    devices = _devices(table, np.flatnonzero(in_use), silent_devices) if silent_devices else {}
    together = _silent_together(table, np.flatnonzero(silent))
    fleets = {tenant: _counts(silent_devices[tenant], devices[tenant]) for tenant in sorted(silent_devices)}
    return guard.silent_among(fleets, at_ms, together)


def last_telemetry_at(rows: Rows) -> NDArray[np.int64]:
    """Since when each session's device has been silent, ms: since its last telemetry, or since it woke up."""
    woken = rows["woken_s"].astype(np.int64) * 1000 - rows["interval_ms"]
    since: NDArray[np.int64] = np.maximum(rows["heard_at"], woken)
    return since


def _silent_together(table: SessionTable, rows: NDArray[np.int64]) -> dict[str, int]:
    """By tenant, how many devices of the sessions in *rows* may have fallen silent at one moment.

    A device fell silent between its last report and the next one that was due.
    """
    spans: defaultdict[bytes, dict[int, tuple[int, int]]] = defaultdict(dict)
    for row in rows.tolist():
        last, device = int(table.rows["heard_at"][row]), int(table.rows["client"][row, DEVICE])
        devices = spans[tenant_of(table.names[row])]
        devices[device] = max(devices.get(device, (0, 0)), (last, last + int(table.rows["interval_ms"][row])))
    return {split(tenant)[0]: _max_overlap(devices.values()) for tenant, devices in spans.items()}


def _max_overlap(spans: Iterable[tuple[int, int]]) -> int:
    """The largest number of *spans* (start, end) that overlap at one moment."""
    steps = sorted(step for start, end in spans for step in ((start, 1), (end, -1)))
    return max(accumulate(step for _, step in steps), default=0)


def _counts(silent: dict[int, int], devices: dict[int, int]) -> tuple[int, int]:
    """How many devices are silent, and how many report at least as often as the slowest silent one.

    A device that reports less often was not due yet, so it shows nothing either way.
    """
    slowest = max(silent.values())
    return len(silent), sum(interval <= slowest for interval in devices.values())


def _devices(
    table: SessionTable, rows: NDArray[np.int64], tenants: Iterable[str] | None = None
) -> dict[str, dict[int, int]]:
    """By tenant, the devices of the sessions in *rows*, each with its heartbeat interval in ms.

    Only of *tenants*, if given.
    """
    wanted = None if tenants is None else {join(tenant) for tenant in tenants}
    by_tenant: defaultdict[bytes, dict[int, int]] = defaultdict(dict)
    devices = table.rows["client"][rows, DEVICE].tolist()
    intervals = table.rows["interval_ms"][rows].tolist()
    for row, device, interval in zip(rows.tolist(), devices, intervals, strict=True):
        tenant = tenant_of(table.names[row])
        if wanted is None or tenant in wanted:
            by_tenant[tenant][device] = interval
    return {split(tenant)[0]: found for tenant, found in by_tenant.items()}
