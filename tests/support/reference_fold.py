"""The slow, obvious fold: one event at a time, plain Python, straight from the definitions.

What the fast one must agree with; written without looking at its arithmetic.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from models.events.columns import KINDS, client_family
from models.events.networks import network_name
from models.events.operations import COMMANDS, Stage, chain_stage, is_powerful, stage_of
from models.events.text_hashing import fingerprint, hash_ids, short_fingerprint
from models.features.table import DECAYED_COUNTERS
from models.features.volumes import VOLUMES
from models.roles.roles import Roles
from models.state.table import ROLES
from models.updates.call_sequence import USUAL_NAMES
from models.updates.client import EARTH_RADIUS_KM, NEAR_CELLULAR_KM, NEAR_IN_COUNTRY_KM, NEAR_KM

HOUR_MS = 3_600_000
COUNTS = ("days_known", "strange_sessions", "strange_networks", "usual_concurrent")
AGAINST = {
    "managed": False,
    "compliant": False,
    "rooted": True,
    "emulator": True,
    "hooked": True,
    "debugger": True,
    "screen_lock": False,
    "encrypted": False,
    "app_signature_valid": False,
}


class SlowSession:
    """One session's state in ordinary variables."""

    def __init__(self, first: dict[str, Any], roles: Roles | None = None) -> None:
        self.roles = roles
        self.tenant = str(first["tenant"])
        self.known: dict[str, float] = {}
        self.role_scores = [np.float32(0)] * ROLES
        self.kind = ""
        self.operation: str | None = None
        self.started = max(first["occurred_at"], 1)
        self.at = 0
        self.sums = dict.fromkeys((decayed_counter.name for decayed_counter in DECAYED_COUNTERS), 0.0)
        self.client: dict[str, Any] = {}
        self.client_at = 0
        self.used_at = 0
        self.network_type: str | None = None
        self.place: tuple[float, float, int] | None = None
        self.placed: tuple[str | None, str | None] = None, None
        """Kind of network and country of that place."""
        self.strong_at = 0
        self.refreshed_at = 0
        self.woken_at = 0
        self.proved = False
        self.posture: dict[str, Any] = {}
        self.heard_at = 0
        self.attested_at = 0
        self.seen: dict[tuple[str, int], int] = {}
        self.principal: dict[str, Any] = {}
        self.baseline: dict[str, Any] = {}
        self.peaks = dict.fromkeys(VOLUMES, 0.0)

    def fold(self, event: dict[str, Any]) -> dict[str, float]:
        """Take one event; the features after it, and facts that only rules see."""
        before = self.at
        self.used_at = self.client_at
        self.at = max(self.at, event["occurred_at"])
        marks = dict.fromkeys((this_decayed_counter.increment for this_decayed_counter in DECAYED_COUNTERS), 0.0)
        speed = 0.0
        if event["type"] in ("auth.event", "api.call"):
            self.kind = event["principal_kind"]
            speed = self._client(event, marks)
        self.known = self._role() if self.roles is not None else {}
        if event["type"] == "auth.event":
            self._auth(event, marks)
        if event["type"] == "api.call":
            self._call(event, marks)
        if event["type"] == "session.context":
            self._context(event)
        late = self.at - event["occurred_at"]
        for decayed_counter in DECAYED_COUNTERS:
            kept = self.sums[decayed_counter.name] * 2 ** (-(self.at - before) / decayed_counter.half_life)
            value = kept + marks[decayed_counter.increment] * 2 ** (-late / decayed_counter.half_life)
            self.sums[decayed_counter.name] = (
                value if decayed_counter.half_life == HOUR_MS else float(np.float32(value))
            )
        for name in VOLUMES if event["type"] == "api.call" else ():
            self.peaks[name] = max(self.peaks[name], self.sums[name])
        return self._features(speed) | self._facts(event)

    def _client(self, event: dict[str, Any], marks: dict[str, float]) -> float:
        inside = (event["ip"] or "").startswith(("10.", "192.168.", "fd00:"))
        agent = event["user_agent"]
        hop = inside and event["principal_kind"] == "human" and "mozilla/" not in (agent or "").lower()
        agent = None if hop else agent
        fields = {
            "number": event["asn"],
            "prefix": None if inside else network_name(event["ip"], None),
            "ua": agent,
            "family": client_family(agent),
            "ja4": None if hop or (event["ja4"] or "").startswith("q") else event["ja4"],
            "token": event["token_id"],
            "key": event["key_thumbprint"],
            "device": event["device_id"],
        }
        if event["occurred_at"] < self.client_at:
            self.client = {name: value for name, value in fields.items() if value is not None} | self.client
            return 0.0
        self._wake(event["occurred_at"])
        self.client_at = event["occurred_at"]
        changed = {n: v is not None and self.client.get(n) not in (None, v) for n, v in fields.items()}
        same_ua = fields["ua"] is not None and self.client.get("ua") == fields["ua"]
        software = changed["family"] or (changed["ja4"] and same_ua)
        numbered = event["asn"] is not None and self.client.get("number") is not None
        marks["network_changed"] = changed["number"] if numbered else changed["prefix"]
        marks["client_changed"] = software or changed["device"]
        marks["token_changed"] = changed["token"]
        marks["key_changed"] = changed["key"]
        stayed = fields["prefix"] is not None and self.client.get("prefix") == fields["prefix"]
        same = stayed or (fields["number"] is not None and self.client.get("number") == fields["number"])
        self.client |= {name: value for name, value in fields.items() if value is not None}
        kind = event["network_type"] or (self.network_type if same else None)
        self.network_type = event["network_type"] or self.network_type
        return self._moved(event, kind, stayed)

    def _moved(self, event: dict[str, Any], kind: str | None, stayed: bool) -> float:
        lat, lon = event["latitude"], event["longitude"]
        if lat is None or lon is None or kind in ("vpn", "hosting", "tor"):
            return 0.0
        speed = 0.0
        cellular = kind == "cellular"
        if self.place is not None and not stayed:
            gone = kilometres(self.place[0], self.place[1], lat, lon)
            at_home = event["country"] is not None and event["country"] == self.placed[1]
            sure = {kind, self.placed[0]} <= {"wifi", "ethernet"}
            near = NEAR_KM if sure else NEAR_CELLULAR_KM
            near = max(near, NEAR_IN_COUNTRY_KM) if at_home else near
            hours = max(event["occurred_at"] - self.place[2], 1000) / HOUR_MS
            speed = gone / hours if gone > near else 0.0
        if not cellular:
            self.place = (lat, lon, event["occurred_at"])
            self.placed = kind, event["country"]
        return speed

    def _auth(self, event: dict[str, Any], marks: dict[str, float]) -> None:
        action = event["action"]
        marks["auth_failed"] = action in ("sign_in_failed", "mfa_denied", "mfa_failed")
        marks["mfa_denied"] = action == "mfa_denied"
        marks["credential_changed"] = action.startswith("credential_")
        if action in ("sign_in", "mfa_passed", "step_up_passed"):
            self.strong_at = max(self.strong_at, event["occurred_at"] // 1000 * 1000)

        if action == "token_refreshed":
            self.refreshed_at = max(self.refreshed_at, event["occurred_at"] // 1000 * 1000)
        self.proved = self.proved or action in ("mfa_passed", "step_up_passed")

    def _facts(self, event: dict[str, Any]) -> dict[str, float]:
        """What rules see of the event besides features."""
        auth, call = event["type"] == "auth.event", event["type"] == "api.call"
        good = call and (event["status"] or 0) < 400
        return {
            "proved": self.proved,
            "signed_in": self.strong_at > 0,
            "familiar": self.roles is None or self.operation in self.roles.operations.tolist(),
            "refreshed_at": self.refreshed_at,
            "telemetry_gap": self._silence(self.at),
            "used_at": self.used_at,
            "since_refresh_s": max(self.at - (self.refreshed_at or self.started), 0) / 1000,
            "stage": self._stage(event, good=good) if call else 0,
            "by_sim": auth and (event["amr"] is None or bool({"sms", "tel"} & set(event["amr"]))),
            "powerful": auth and is_powerful(event["scopes"] or []),
            **self.known,
        }

    def _role(self) -> dict[str, float]:
        """The role that the calls before this one showed, and what is usual in it, at its tenant if known."""
        assert self.roles is not None
        kind = KINDS.index(self.kind)
        weight = self._weights(self.roles, kind)
        best = max(weight, key=weight.__getitem__)
        clear = 0.9 * sum(weight.values()) <= 1
        part = best if clear else ROLES
        usual, own = self.roles.usual[kind, part], False
        cohorts = self.roles.cohorts
        for tenant, details, sessions in zip(cohorts.tenants, cohorts.usual, cohorts.sessions, strict=True):
            if tenant == short_fingerprint(self.tenant) and sessions[kind, part]:
                usual, own = details[kind, part], True
        return {
            "role": best if clear else -1,
            "tenant_cohort": own,
            **{name: usual[at, 1] for at, name in enumerate(USUAL_NAMES)},
        }

    def _weights(self, roles: Roles, kind: int) -> dict[int, float]:
        """How likely each role of the *kind* is, the likeliest 1."""
        there = [role for role in range(ROLES) if roles.prior[kind, role] > -math.inf]
        belief = {role: float(self.role_scores[role]) + float(roles.prior[kind, role]) for role in there}
        return {role: math.exp(belief[role] - max(belief.values())) for role in there}

    @staticmethod
    def _stage(event: dict[str, Any], *, good: bool) -> int:
        stage = int(stage_of(event["operation"], event["sensitivity"]))
        tried = stage >= 5 or (stage == 3 and event["status"] in (401, 403))
        return stage if good or tried else 0

    def _call(self, event: dict[str, Any], marks: dict[str, float]) -> None:
        status, records = event["status"] or 0, event["records"] or 0
        sensitive = event["sensitivity"] in ("confidential", "restricted")
        stage = self._stage(event, good=status < 400)
        remembered = chain_stage(event["operation"]) is not Stage.NONE or event["operation"] in COMMANDS
        guarded = event["scope"] or event["sensitivity"] == "restricted" or remembered
        parts = (event["operation"], event["scope"] or "", event["sensitivity"] or "")
        operation = "\udcff".join(parts) if guarded else event["operation"]
        marks |= {
            "call": 1,
            "error": status >= 400,
            "denied": status in (401, 403),
            "bytes_out": event["bytes_out"] or 0,
            "records": records,
            "sensitive_records": records * sensitive,
            "sensitive_call": sensitive,
            "write": event["method"] not in (None, "GET", "HEAD", "OPTIONS", "READ"),
            "tool_call": event["tool"] is not None,
            "created": stage == 1,
            "granted": stage in (2, 4),
            "blinded": stage == 3,
            "new_operation": self._new("operation", operation),
            "new_address": self._new("address", event["ip"]),
            "new_resource": self._new("resource", event["resource"]),
        }
        refused = status in (401, 403, 404)
        marks["refused_new"] = refused and (marks["new_operation"] or marks["new_resource"])
        new_tool = self._new("tool", event["tool"])
        marks["new_tool"] = new_tool and self.at - self.started >= 300_000
        if self.roles is not None:
            marks["surprise"], marks["rare"] = self._surprise(event["operation"], self.roles)
        self.operation = event["operation"]

    def _surprise(self, operation: str, roles: Roles) -> tuple[float, float]:
        """By Bayes' rule over the roles of the kind; the scores are kept in 32 bits."""
        kind, known = KINDS.index(self.kind), roles.operations.tolist()
        current = known.index(operation) + 1 if operation in known else 0
        before = known.index(self.operation) + 1 if self.operation in known else 0
        before = len(known) + 1 if self.operation is None else before
        weight = self._weights(roles, kind)
        total = sum(weight.values())
        likely = expected = 0.0
        for role in weight:
            row = [float(roles.log_p[kind, before, symbol, role]) for symbol in range(len(known) + 1)]
            share = weight[role] / total
            likely += share * math.exp(row[current])
            expected += share * -sum(math.exp(number) * number for number in row)
        details = roles.log_p[kind, before, current]
        self.role_scores = [
            floating * np.float32(2 ** (-1 / 128)) + details[role] for role, floating in enumerate(self.role_scores)
        ]
        best = max(weight, key=weight.__getitem__)
        rare = 0.9 * total <= 1 and -math.log(likely) > roles.rare[kind, best]
        return -math.log(likely) - expected, float(rare)

    def _new(self, what: str, value: str | None) -> bool:
        """Not in this hour nor the last; one bit of 64 stands for a value."""
        if value is None:
            return False
        number = int(hash_ids([value])[0]) if what == "resource" else fingerprint(value)
        hour = self.at // HOUR_MS
        last = self.seen.get((what, number % 64))
        self.seen[what, number % 64] = hour
        return last is None or hour - last > 1

    def _context(self, event: dict[str, Any]) -> None:
        introduced = event["days_known"] is None or event["sessions_seen"] is not None
        if event["source"] == "principal" and introduced:
            self.principal = event
        if event["source"] == "principal":
            self.baseline = event
        if event["source"] == "device" and event["heard_at"] >= self.heard_at:
            self.heard_at = event["heard_at"]
            self.posture = event
            self.attested_at = max(self.attested_at, (event["attested_at"] or 0) // 1000 * 1000)

    def _wake(self, at: int) -> None:
        """It and its device slept, if the device was heard as long as the session was used before."""
        interval = self.posture.get("heartbeat_interval_ms") or 0
        slept = interval and self.client_at and at - self.client_at > interval
        if slept and self.heard_at and self.client_at - self.heard_at <= 1.5 * interval:
            self.woken_at = at // 1000 * 1000

    def _silence(self, at: int) -> float:
        interval = self.posture.get("heartbeat_interval_ms") or 0
        if self.client.get("device") is None or not interval or not self.heard_at:
            return 0.0
        return float(max(at - max(self.heard_at, self.woken_at - interval), 0) / interval)

    def _features(self, speed: float) -> dict[str, float]:
        sums = self.sums
        bound = self.client.get("device") is not None
        attested = self.attested_at > 0
        failed = self.posture.get("attestation") in ("none", "virtual", "failed")
        faults = sum(self.posture.get(name) is value for name, value in AGAINST.items())
        return {
            **sums,
            "error_ratio_10m": sums["errors_10m"] / (sums["calls_10m"] + 1),
            "denied_ratio_10m": sums["denied_10m"] / (sums["calls_10m"] + 1),
            "sensitive_ratio_10m": sums["sensitive_calls_10m"] / (sums["calls_10m"] + 1),
            "speed_kmh": speed,
            "silence_in_use": self._silence(min(self.at, self.client_at)),
            "attestation_age_m": max(self.at - self.attested_at, 0) / 60_000 if bound and attested else 0.0,
            "posture_faults": faults + (self.posture.get("malware") == "detected"),
            "unattested": float(bound and (not attested or failed)),
            "session_age_m": (self.at - self.started) / 60_000,
            "strong_auth_age_m": max(self.at - (self.strong_at or self.started), 0) / 60_000,
            "novelty": self.principal.get("novelty") or 0.0,
            "surprise_ratio_10m": sums["surprise_10m"] / (sums["calls_10m"] + 1),
            "concurrent_sessions": float(self.principal.get("concurrent_sessions") or 0),
            "hour_share": self.baseline.get("hour_share") or 0.0,
            **{name: min(self.baseline.get(name) or 0, 255) for name in COUNTS},
            **{f"usual_{name}": (self.baseline.get("usual") or {}).get(name, 0.0) for name in VOLUMES},
        }


def kilometres(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Great-circle distance by the spherical law of haversines."""
    a, b, c, d = map(math.radians, (lat1, lon1, lat2, lon2))
    h = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(h, 1.0)))
