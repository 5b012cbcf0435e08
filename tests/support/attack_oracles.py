"""How each family of simulated attacks shows: slow, obvious readings of what it means, not the detections."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection
from itertools import pairwise, takewhile

from models.events.columns import client_family
from models.events.operations import Stage, chain_stage
from pipeline.offline.simulation.world import work
from tests.support.simulated_worlds import MINUTE, Event, World, by_time, calls, km, most_within, records

HIDING = {"vpn", "hosting", "tor"}
HANDSETS = {"ios", "android"}
TOOLS_OF_SCRIPTS = ("python", "curl", "httpx", "aiohttp", "Headless", "Java/")
Mark = Callable[[list[Event], World], bool]

_TABLES = (
    *(*work.ROLES.values(), *work.JOBS.values(), *work.KEYED.values()),
    *(work.ON_THE_PHONE, work.TOOLS, work.NIGHTLY, work.INFRASTRUCTURE, work.APPLIED, work.RELEASES),
    (work.MINT, work.MONTH_END, work.BATCH),
)
HONEST_OPERATIONS = {operation.name for table in _TABLES for operation in table}
"""What is somebody's work."""


def _on_a_device(is_bad: Callable[[Event], bool]) -> Mark:
    return lambda events, world: any((report := world.last_report(event)) and is_bad(report) for event in events)


def _strange(least: int) -> Mark:
    """So many calls of operations that are nobody's work."""
    return lambda events, _: sum(call["operation"] not in HONEST_OPERATIONS for call in calls(events)) >= least


def _acts(*actions: str) -> Mark:
    return lambda events, _: {event.get("action") for event in events} >= set(actions)


def _all_of(*marks: Mark) -> Mark:
    return lambda events, world: all(mark(events, world) for mark in marks)


def _silent(events: list[Event], world: World) -> bool:
    pairs = ((call, world.last_report(call)) for call in calls(events))
    return any(h and c["occurred_at"] - h["occurred_at"] > 3 * h["heartbeat_interval_ms"] for c, h in pairs)


def _unattested(events: list[Event], world: World) -> bool:
    pairs = ((call, world.last_report(call)) for call in calls(events) if "device_id" in call)
    fails = {"none", "failed"}
    return events[0]["principal_kind"] == "agent" and any(
        h is None or h["attestation"] in fails or c["occurred_at"] - h["attested_at"] > 15 * MINUTE for c, h in pairs
    )


def _older_system(events: list[Event], world: World) -> bool:
    reports = world.devices.get(events[0].get("device_id", ""), [])
    levels = [report["patch_level"] for report in reports if report["occurred_at"] <= events[-1]["occurred_at"]]
    return any(after < before for before, after in pairwise(levels))


def _wrong_clock(events: list[Event], world: World) -> bool:
    """A proof from the future, or a report dated before the one it came after."""
    last = events[-1]["occurred_at"] - 2 * MINUTE
    pairs = pairwise(world.devices.get(events[0].get("device_id", ""), []))
    received_takewhile = takewhile(lambda pair: pair[0]["occurred_at"] < last, pairs)
    return any(
        b["occurred_at"] < a["occurred_at"] or b["attested_at"] > b["occurred_at"] for a, b in received_takewhile
    )


def _moved(events: list[Event], world: World) -> bool:
    """A human moved to a network unknown to them, and did not step up within five minutes."""
    passed = [event["occurred_at"] for event in events if event.get("action") == "step_up_passed"]
    for before, after in pairwise(events):
        at = after["occurred_at"]
        if after["principal_kind"] != "human" or after["asn"] == before["asn"]:
            continue
        known = {
            principal["asn"] for principal in world.principals[after["principal_id"]] if principal["occurred_at"] < at
        }
        waited = at + 5 * MINUTE < events[-1]["occurred_at"]
        if after["asn"] not in known and waited and not any(at < item <= at + 5 * MINUTE for item in passed):
            return True
    return False


def _hidden(events: list[Event], world: World) -> bool:
    """A person's session goes on where traffic has no origin."""
    return any(b["network_type"] in HIDING and b["asn"] != a["asn"] for a, b in pairwise(events))


def _replayed(events: list[Event], world: World) -> bool:
    return any(
        a["token_id"] == b["token_id"]
        and a["asn"] != b["asn"]
        and client_family(a["user_agent"]) != client_family(b["user_agent"])
        for a, b in pairwise(events)
    )


def _scripted(events: list[Event], world: World) -> bool:
    """A browser's session that a script goes on with."""
    shown = [event["user_agent"] for event in events]
    return shown[0].startswith("Mozilla/") and any(any(tool in ua for tool in TOOLS_OF_SCRIPTS) for ua in shown)


def _reused(events: list[Event], world: World) -> bool:
    """Not by the client whose token it was."""
    mine = client_family(events[0]["user_agent"])
    return any(event.get("action") == "token_reused" and client_family(event["user_agent"]) != mine for event in events)


def _too_fast(events: list[Event], world: World) -> bool:
    places = [event for event in events if event["network_type"] not in HIDING]
    if places:
        everywhere = world.principals[events[0]["principal_id"]]
        earlier = everywhere[: bisect_right(everywhere, by_time(places[0]) - 1, key=by_time)]
        places = [event for event in earlier if event["network_type"] not in HIDING][-1:] + places
    for a, b in pairwise(places):
        if (a["latitude"], a["longitude"]) != (b["latitude"], b["longitude"]):
            hours = max(b["occurred_at"] - a["occurred_at"], 1000) / 3_600_000
            if km(a, b) > max(100, 1000 * hours):
                return True
    return False


def _fatigue(events: list[Event], world: World) -> bool:
    denied = [(event["occurred_at"], 1) for event in events if event.get("action") == "mfa_denied"]
    return most_within(10 * MINUTE, denied) >= 5 and any(event.get("action") == "mfa_passed" for event in events)


def _on_a_new_device(events: list[Event], world: World) -> bool:
    """A person's session on a device that sends nothing, and that they never used before."""
    device, at = events[0].get("device_id"), events[0]["occurred_at"]
    before = [principal for principal in world.principals[events[0]["principal_id"]] if principal["occurred_at"] < at]
    return bool(
        device and before and device not in world.devices and all(event.get("device_id") != device for event in before)
    )


def _sprayed(events: list[Event], world: World) -> bool:
    """Signed in from where the sign-ins of at least three others had failed in the hours before."""
    at, mine = events[0]["occurred_at"], events[0]["principal_id"]
    failed = [
        failure for failure in world.failures[events[0]["asn"]] if 0 <= at - failure["occurred_at"] < 8 * 60 * MINUTE
    ]
    return len({event["principal_id"] for event in failed} - {mine}) >= 3 and events[0]["action"] == "sign_in"


def _in_the_middle(events: list[Event], world: World) -> bool:
    """Signed in from a rented server."""
    return events[0]["network_type"] == "hosting" and _acts("sign_in", "mfa_passed", "token_issued")(events, world)


def _crowded(events: list[Event], world: World) -> bool:
    """Signed in with a password while, or minutes before, others of the same principal's sessions begin."""
    at, name = events[0]["occurred_at"], events[0]["principal_id"]
    signs = [principal for principal in world.principals[name] if principal.get("action") == "sign_in"]
    near = {sign["asn"] for sign in signs if abs(sign["occurred_at"] - at) < 15 * MINUTE}
    return "device_id" not in events[0] and events[0]["action"] == "sign_in" and len(near) >= 2


def _probing(events: list[Event], world: World) -> bool:
    """Eight refusals within ten minutes, at five doors or more."""
    refused = [call for call in calls(events) if call["status"] in {401, 403, 404}]
    many = most_within(10 * MINUTE, [(event["occurred_at"], 1) for event in refused]) >= 8
    return many and len({event["operation"] for event in refused}) >= 5


def _insists(events: list[Event], world: World) -> bool:
    refused = [(call["occurred_at"], 1) for call in calls(events) if "tool" in call and call["status"] == 403]
    return most_within(10 * MINUTE, refused) >= 8


def _chained(events: list[Event], world: World, window: int = 10) -> bool:
    """Two steps of the chain within so many minutes are already one too many."""
    stages = [(call["occurred_at"], chain_stage(call["operation"])) for call in calls(events)]
    steps = [(at, stage) for at, stage in stages if stage is not Stage.NONE]
    return any(len({step for when, step in steps if at <= when < at + window * MINUTE}) >= 2 for at, _ in steps)


def _tool_burst(events: list[Event], world: World) -> bool:
    return most_within(MINUTE, [(call["occurred_at"], 1) for call in calls(events) if "tool" in call]) > 60


def _new_tools(events: list[Event], world: World) -> bool:
    first: dict[str, int] = {}
    for call in calls(events):
        if "tool" in call:
            first.setdefault(call["tool"], call["occurred_at"])
    began: int = events[0]["occurred_at"]
    return sum(at > began + 5 * MINUTE for at in first.values()) >= 3


def _takes_everything(events: list[Event], world: World) -> bool:
    """One tool, again and again: more than half a hundred times in ten minutes."""
    used: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for call in calls(events):
        if "tool" in call:
            used[call["tool"]].append((call["occurred_at"], 1))
    return any(most_within(10 * MINUTE, times) > 50 for times in used.values())


def _off_place(kinds: Collection[str]) -> Mark:
    return lambda events, _: events[0]["principal_kind"] in kinds and len({event["asn"] for event in events}) > 1


def _away_from_home(events: list[Event], world: World) -> bool:
    usual = {principal["asn"] for principal in world.principals[events[0]["principal_id"]][:20]}
    return events[0]["principal_kind"] == "service" and any(event["asn"] not in usual for event in events)


MARKS: dict[str, Mark] = {
    "device_rooted": _on_a_device(lambda posture: bool(posture["rooted"])),
    "runtime_hooked": _on_a_device(lambda posture: bool(posture["hooked"])),
    "malware_on_device": _on_a_device(lambda posture: posture["malware"] == "detected"),
    "posture_downgraded": _on_a_device(lambda posture: not posture["screen_lock"]),
    "attestation_downgraded": _on_a_device(
        lambda posture: posture["platform"] in HANDSETS and posture["attestation"] != "strong"
    ),
    "os_downgraded": _older_system,
    "telemetry_silent_while_active": _silent,
    "clock_tampered": _wrong_clock,
    "malware_in_browser": _strange(8),
    "token_replayed": _replayed,
    "token_by_residential_proxy": _moved,
    "through_own_machine": _strange(5),
    "non_browser_client": _scripted,
    "impossible_travel": _too_fast,
    "network_changed_unanswered": _moved,
    "anonymised_network": _all_of(_hidden, _moved),
    "refresh_token_reused": _reused,
    "after_hours": _strange(5),
    "mfa_fatigue": _fatigue,
    "factor_reset_new_device": _all_of(_acts("recovery_started", "credential_removed", "sign_in"), _on_a_new_device),
    "new_device_privileged": _all_of(_on_a_new_device, _strange(1)),
    "sim_swapped": _acts("recovery_started", "sign_in", "credential_changed"),
    "password_spray": _sprayed,
    "aitm_sign_in": _in_the_middle,
    "mass_read": lambda events, _: events[0]["principal_kind"] != "service" and records(events) > 5000,
    "slow_drip": _strange(10),
    "access_probing": _probing,
    "unfamiliar_scope": _strange(1),
    "privilege_chain": _chained,
    "privilege_chain_slow": lambda events, world: _chained(events, world, 120),
    "agent_without_fresh_attestation": _unattested,
    "agent_tool_burst": _tool_burst,
    "agent_new_tools": _new_tools,
    "agent_denied_tools": _insists,
    "agent_prompt_injected": _takes_everything,
    "api_key_off_place": _off_place({"api_key"}),
    "machine_on_handset": _off_place({"service"}),
    "workload_credential_off_home": _away_from_home,
    "concurrent_sessions": _crowded,
}
"""How each family shows when it is not low, described without the detections."""

LOOKS_LIKE: dict[str, set[str]] = {
    "terraform_run": {"privilege_chain", "privilege_chain_slow"},
    "nightly_batch": {"agent_tool_burst", "agent_prompt_injected"},
}
"""What honest runs of every day have in common with attacks: only their history tells them apart."""

COMPANY_WIDE: dict[str, set[str]] = {
    "telemetry_outage": {"telemetry_silent_while_active", "agent_without_fresh_attestation"},
    "office_nat": {"password_spray"},
    "policy_rollout": {"posture_downgraded"},
}
"""What oddities of a whole company have in common with attacks: that it is everybody tells them apart."""

BORN_IN_IT = {
    "factor_reset_new_device",
    "new_device_privileged",
    "sim_swapped",
    "password_spray",
    "aitm_sign_in",
    "mfa_fatigue",
    "concurrent_sessions",
    "workload_credential_off_home",
}
"""Families whose session is the intruder's from its first event."""
