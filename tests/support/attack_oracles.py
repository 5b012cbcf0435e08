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
    return lambda told, world: any((heard := world.heard(one)) and is_bad(heard) for one in told)


def _strange(least: int) -> Mark:
    """So many calls of operations that are nobody's work."""
    return lambda told, _: sum(one["operation"] not in HONEST_OPERATIONS for one in calls(told)) >= least


def _acts(*actions: str) -> Mark:
    return lambda told, _: {one.get("action") for one in told} >= set(actions)


def _all_of(*marks: Mark) -> Mark:
    return lambda told, world: all(mark(told, world) for mark in marks)


def _silent(told: list[Event], world: World) -> bool:
    heard = ((call, world.heard(call)) for call in calls(told))
    return any(h and c["occurred_at"] - h["occurred_at"] > 3 * h["heartbeat_interval_ms"] for c, h in heard)


def _unattested(told: list[Event], world: World) -> bool:
    heard = ((call, world.heard(call)) for call in calls(told) if "device_id" in call)
    fails = {"none", "failed"}
    return told[0]["principal_kind"] == "agent" and any(
        h is None or h["attestation"] in fails or c["occurred_at"] - h["attested_at"] > 15 * MINUTE
        for c, h in heard
    )


def _older_system(told: list[Event], world: World) -> bool:
    reports = world.devices.get(told[0].get("device_id", ""), [])
    levels = [one["patch_level"] for one in reports if one["occurred_at"] <= told[-1]["occurred_at"]]
    return any(after < before for before, after in pairwise(levels))


def _wrong_clock(told: list[Event], world: World) -> bool:
    """A proof from the future, or a report dated before the one it came after."""
    last = told[-1]["occurred_at"] - 2 * MINUTE
    pairs = pairwise(world.devices.get(told[0].get("device_id", ""), []))
    heard = takewhile(lambda pair: pair[0]["occurred_at"] < last, pairs)
    return any(b["occurred_at"] < a["occurred_at"] or b["attested_at"] > b["occurred_at"] for a, b in heard)


def _moved(told: list[Event], world: World) -> bool:
    """A human moved to a network unknown to them, and did not step up within five minutes."""
    passed = [one["occurred_at"] for one in told if one.get("action") == "step_up_passed"]
    for before, after in pairwise(told):
        at = after["occurred_at"]
        if after["principal_kind"] != "human" or after["asn"] == before["asn"]:
            continue
        known = {one["asn"] for one in world.principals[after["principal_id"]] if one["occurred_at"] < at}
        waited = at + 5 * MINUTE < told[-1]["occurred_at"]
        if after["asn"] not in known and waited and not any(at < one <= at + 5 * MINUTE for one in passed):
            return True
    return False


def _hidden(told: list[Event], world: World) -> bool:
    """A person's session goes on where traffic has no origin."""
    return any(b["network_type"] in HIDING and b["asn"] != a["asn"] for a, b in pairwise(told))


def _replayed(told: list[Event], world: World) -> bool:
    return any(
        a["token_id"] == b["token_id"]
        and a["asn"] != b["asn"]
        and client_family(a["user_agent"]) != client_family(b["user_agent"])
        for a, b in pairwise(told)
    )


def _scripted(told: list[Event], world: World) -> bool:
    """A browser's session that a script goes on with."""
    shown = [one["user_agent"] for one in told]
    return shown[0].startswith("Mozilla/") and any(
        any(tool in ua for tool in TOOLS_OF_SCRIPTS) for ua in shown
    )


def _reused(told: list[Event], world: World) -> bool:
    """Not by the client whose token it was."""
    mine = client_family(told[0]["user_agent"])
    return any(
        one.get("action") == "token_reused" and client_family(one["user_agent"]) != mine for one in told
    )


def _too_fast(told: list[Event], world: World) -> bool:
    places = [one for one in told if one["network_type"] not in HIDING]
    if places:
        everywhere = world.principals[told[0]["principal_id"]]
        earlier = everywhere[: bisect_right(everywhere, by_time(places[0]) - 1, key=by_time)]
        places = [one for one in earlier if one["network_type"] not in HIDING][-1:] + places
    for a, b in pairwise(places):
        if (a["latitude"], a["longitude"]) != (b["latitude"], b["longitude"]):
            hours = max(b["occurred_at"] - a["occurred_at"], 1000) / 3_600_000
            if km(a, b) > max(100, 1000 * hours):
                return True
    return False


def _fatigue(told: list[Event], world: World) -> bool:
    denied = [(one["occurred_at"], 1) for one in told if one.get("action") == "mfa_denied"]
    return most_within(10 * MINUTE, denied) >= 5 and any(one.get("action") == "mfa_passed" for one in told)


def _on_a_new_device(told: list[Event], world: World) -> bool:
    """A person's session on a device that sends nothing, and that they never used before."""
    device, at = told[0].get("device_id"), told[0]["occurred_at"]
    before = [one for one in world.principals[told[0]["principal_id"]] if one["occurred_at"] < at]
    return bool(
        device
        and before
        and device not in world.devices
        and all(one.get("device_id") != device for one in before)
    )


def _sprayed(told: list[Event], world: World) -> bool:
    """Signed in from where the sign-ins of at least three others had failed in the hours before."""
    at, mine = told[0]["occurred_at"], told[0]["principal_id"]
    failed = [one for one in world.failures[told[0]["asn"]] if 0 <= at - one["occurred_at"] < 8 * 60 * MINUTE]
    return len({one["principal_id"] for one in failed} - {mine}) >= 3 and told[0]["action"] == "sign_in"


def _in_the_middle(told: list[Event], world: World) -> bool:
    """Signed in from a rented server."""
    return told[0]["network_type"] == "hosting" and _acts("sign_in", "mfa_passed", "token_issued")(
        told, world
    )


def _crowded(told: list[Event], world: World) -> bool:
    """Signed in with a password while, or minutes before, others of the same principal's sessions begin."""
    at, name = told[0]["occurred_at"], told[0]["principal_id"]
    signs = [one for one in world.principals[name] if one.get("action") == "sign_in"]
    near = {one["asn"] for one in signs if abs(one["occurred_at"] - at) < 15 * MINUTE}
    return "device_id" not in told[0] and told[0]["action"] == "sign_in" and len(near) >= 2


def _probing(told: list[Event], world: World) -> bool:
    """Eight refusals within ten minutes, at five doors or more."""
    refused = [one for one in calls(told) if one["status"] in {401, 403, 404}]
    many = most_within(10 * MINUTE, [(one["occurred_at"], 1) for one in refused]) >= 8
    return many and len({one["operation"] for one in refused}) >= 5


def _insists(told: list[Event], world: World) -> bool:
    refused = [(one["occurred_at"], 1) for one in calls(told) if "tool" in one and one["status"] == 403]
    return most_within(10 * MINUTE, refused) >= 8


def _chained(told: list[Event], world: World, window: int = 10) -> bool:
    """Two steps of the chain within so many minutes are already one too many."""
    stages = [(one["occurred_at"], chain_stage(one["operation"])) for one in calls(told)]
    steps = [(at, stage) for at, stage in stages if stage is not Stage.NONE]
    return any(
        len({step for when, step in steps if at <= when < at + window * MINUTE}) >= 2 for at, _ in steps
    )


def _tool_burst(told: list[Event], world: World) -> bool:
    return most_within(MINUTE, [(one["occurred_at"], 1) for one in calls(told) if "tool" in one]) > 60


def _new_tools(told: list[Event], world: World) -> bool:
    first: dict[str, int] = {}
    for one in calls(told):
        if "tool" in one:
            first.setdefault(one["tool"], one["occurred_at"])
    began: int = told[0]["occurred_at"]
    return sum(at > began + 5 * MINUTE for at in first.values()) >= 3


def _takes_everything(told: list[Event], world: World) -> bool:
    """One tool, again and again: more than half a hundred times in ten minutes."""
    used: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for one in calls(told):
        if "tool" in one:
            used[one["tool"]].append((one["occurred_at"], 1))
    return any(most_within(10 * MINUTE, times) > 50 for times in used.values())


def _off_place(kinds: Collection[str]) -> Mark:
    return lambda told, _: told[0]["principal_kind"] in kinds and len({one["asn"] for one in told}) > 1


def _away_from_home(told: list[Event], world: World) -> bool:
    usual = {one["asn"] for one in world.principals[told[0]["principal_id"]][:20]}
    return told[0]["principal_kind"] == "service" and any(one["asn"] not in usual for one in told)


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
    "factor_reset_new_device": _all_of(
        _acts("recovery_started", "credential_removed", "sign_in"), _on_a_new_device
    ),
    "new_device_privileged": _all_of(_on_a_new_device, _strange(1)),
    "sim_swapped": _acts("recovery_started", "sign_in", "credential_changed"),
    "password_spray": _sprayed,
    "aitm_sign_in": _in_the_middle,
    "mass_read": lambda told, _: told[0]["principal_kind"] != "service" and records(told) > 5000,
    "slow_drip": _strange(10),
    "access_probing": _probing,
    "unfamiliar_scope": _strange(1),
    "privilege_chain": _chained,
    "privilege_chain_slow": lambda told, world: _chained(told, world, 120),
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
"""How each family shows when it is not low, told without the rules."""

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
    "factor_reset_new_device", "new_device_privileged", "sim_swapped", "password_spray", "aitm_sign_in",
    "mfa_fatigue", "concurrent_sessions", "workload_credential_off_home",
}  # fmt: skip
"""Families whose session is the intruder's from its first event."""
