"""Honest oddities: a table, a row each. They look strange, and must not end a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipeline.simulate import client_oddities as client
from pipeline.simulate import company_oddities as company
from pipeline.simulate import device_oddities as device
from pipeline.simulate import work_oddities as work
from pipeline.simulate.attempt import Attempt
from pipeline.simulate.plan import Day
from pipeline.simulate.strike import Family, Strike, on_one_day


def _row(strike: Callable[[Day, Attempt], bool], text: str) -> Family:
    return Family(strike.__name__, text, on_one_day(strike))


def _wide(strike: Strike, text: str) -> Family:
    return Family(strike.__name__, text, strike)


ODDITIES: Final = (
    _row(client.vpn_toggle, "the company's tunnel on and off"),
    _row(client.roaming, "from wireless to the carrier and back"),
    _row(client.browser_update, "the browser one version later"),
    _row(client.flight_travel, "abroad, hours later"),
    _row(client.fat_fingers, "a slip or two at the sign-in"),
    _row(client.relay_egress, "for once without the private access service"),
    _row(client.refresh_retry, "a refresh asked for twice within seconds"),
    _row(client.help_desk_reset, "a factor reset by the help desk, the device of always"),
    _row(client.on_call_night, "an hour's work in the night"),
    _row(device.new_phone, "another phone, the same person"),
    _row(device.battery_saver, "telemetry rarer, as announced"),
    _row(device.mdm_lag, "updated, and for minutes not compliant"),
    _row(device.sim_upgrade, "another SIM, and nothing else"),
    _row(work.batch_job, "a service reads very much"),
    _row(work.month_end, "finance reads more than usual"),
    _row(work.password_loop, "one service fails again and again"),
    _wide(company.policy_rollout, "a policy flips a fact on all devices of a company"),
    _wide(company.telemetry_outage, "a region's telemetry is down for twenty minutes"),
    _wide(company.office_nat, "an office behind one address mistypes its passwords"),
    _wide(company.new_release, "everybody uses a new operation"),
    _wide(company.quarter_end, "finance and analysts read more all afternoon"),
)
"""Every oddity; the label of its sessions is `benign`. Those of every day are in `service_days.py`."""
