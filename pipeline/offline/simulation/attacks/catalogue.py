"""Table of the attacks, one row each: the function, which also names the family, and the expected detections.

After an attack has begun, its session continues for a while, so that the delay of detection can be measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipeline.offline.simulation.attacks import agents, data, devices, factors, machines, tokens
from pipeline.offline.simulation.attacks.family import Family, on_one_day
from pipeline.offline.simulation.plan import Attempt, Day


def _row(apply: Callable[[Day, Attempt], bool], text: str, *detections: str) -> Family:
    return Family(apply.__name__, text, on_one_day(apply), detections)


ATTACKS: Final = (
    _row(devices.device_rooted, "the phone is jailbroken in mid-session", "device_rooted"),
    _row(devices.runtime_hooked, "the app is hooked in mid-session", "device_rooted", "device_hooked"),
    _row(devices.malware_on_device, "the device reports malware", "malware_on_device"),
    _row(devices.posture_downgraded, "lock, encryption or management is switched off", "posture_downgraded"),
    _row(devices.attestation_downgraded, "the device's attestation gets weaker", "attestation_downgraded"),
    _row(devices.os_downgraded, "an older system all of a sudden", "os_downgraded"),
    _row(
        devices.telemetry_silent_while_active,
        "the device's telemetry is switched off, the calls continue",
        "telemetry_silent_while_active",
    ),
    _row(devices.clock_tampered, "the device's clock is changed", "clock_tampered"),
    _row(devices.malware_in_browser, "exports by the owner's own browser", "mass_read", "unfamiliar_scope"),
    _row(tokens.token_replayed, "a stolen cookie is used beside its owner", "token_replayed"),
    _row(
        tokens.token_by_residential_proxy,
        "a stolen cookie, the same browser, a household near by",
        "network_changed",
        "token_replayed",
    ),
    _row(
        tokens.through_own_machine,
        "a tunnel through the owner's machine",
        "unfamiliar_scope",
        "mass_read",
    ),
    _row(tokens.non_browser_client, "a script with the browser's cookie", "non_browser_client"),
    _row(tokens.impossible_travel, "one session on two continents", "impossible_travel"),
    _row(
        tokens.network_changed_unanswered,
        "a foreign network, and no answer to the step-up",
        "network_changed",
        "step_up_missed",
    ),
    _row(tokens.anonymised_network, "through an anonymiser", "anonymised_network", "network_changed"),
    _row(tokens.refresh_token_reused, "an old refresh token once more", "refresh_token_reused"),
    _row(tokens.after_hours, "work when its owner never works", "rare_hour", "unfamiliar_scope", "mass_read"),
    _row(factors.mfa_fatigue, "prompts until the owner accepts one", "mfa_fatigue"),
    _row(factors.factor_reset_new_device, "a reset, then a new device", "factor_reset_new_device"),
    _row(
        factors.new_device_privileged,
        "a new device soon uses rights",
        "new_device_privileged",
        "unfamiliar_scope",
    ),
    _row(factors.sim_swapped, "the number moves, the account is recovered", "sim_swapped"),
    Family("password_spray", "one password for many people", factors.password_spray, ("password_spray",)),
    Family("aitm_sign_in", "signed in through a page in the middle", factors.aitm_sign_in, ("aitm_sign_in",)),
    _row(data.mass_read, "customer data read page after page", "mass_read"),
    _row(data.slow_drip, "customer data a little at a time", "mass_read", "unfamiliar_scope"),
    _row(data.access_probing, "resources tried one after the other", "access_probing"),
    _row(data.unfamiliar_scope, "sensitive things for the first time", "unfamiliar_scope"),
    _row(data.privilege_chain, "credential, grant, audit off", "privilege_chain"),
    _row(
        data.privilege_chain_slow,
        "the same, far apart",
        "privilege_chain",
        "privilege_widened",
        "unfamiliar_scope",
    ),
    _row(
        agents.agent_without_fresh_attestation,
        "an agent continues although its handset no longer passes attestation",
        "agent_without_fresh_attestation",
    ),
    _row(agents.agent_tool_burst, "an agent calls tools much too fast", "agent_tool_burst"),
    _row(agents.agent_new_tools, "an agent does new things", "agent_tool_burst"),
    _row(agents.agent_denied_tools, "an agent repeats calls that are denied", "agent_denied_tools"),
    _row(agents.agent_prompt_injected, "an agent reads everything in reach", "agent_tool_burst", "mass_read"),
    _row(machines.api_key_off_place, "a key is used from elsewhere", "api_key_off_place"),
    _row(machines.machine_on_handset, "a service calls from a phone", "machine_on_handset", "api_key_off_place"),
    _row(
        machines.workload_credential_off_home,
        "a workload's credential away from its cloud",
        "workload_credential_off_home",
        "api_key_off_place",
    ),
    _row(machines.concurrent_sessions, "a sold password, many buyers", "concurrent_sessions"),
)
"""Every attack. Child sessions of an attacked session have the family `ancestor_revoked`."""
