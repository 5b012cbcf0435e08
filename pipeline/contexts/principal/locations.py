"""What a principal's networks say of it: whether it hides as it never did, and whether a workload left home.

A person who never came through a VPN, a data centre or Tor, and a credential that was minted for one machine,
have in common that the new network speaks for itself; what is usual is learned per principal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from models.events.columns import network_name
from models.events.networks import HIDING, is_inside
from models.updates.client import NEAR_CELLULAR_KM, NEAR_IN_COUNTRY_KM, distance_km, near_km
from pipeline.contexts.principal.device_networks import Devices
from pipeline.contexts.principal.known_attributes import are_comparable

NEW_ANONYMISER, NEW_TOR, OFF_HOME = "new_anonymiser", "new_tor", "off_home"
HOME_SESSIONS: Final = 3
"""Sessions of a workload that show where its home is, where nobody told."""
ANYWHERE: Final = "*"
"""In place of homes: the first sessions began in networks that have nothing in common."""
MOST_HOMES: Final = 16


class Seen(Protocol):
    """What is remembered of a principal's networks; see `PrincipalState` in the processor's module."""

    habits: dict[str, dict[str, list[Any]]]
    devices: Devices
    anonymisers: dict[str, str]
    sessions_seen: int
    workload: str
    homes: dict[str, str]


def signals(principal: Seen, networks: list[str], event: dict[str, Any]) -> list[str]:
    """What its *networks* say of the session of *event*; asked before anything is learned from it."""
    session_id = event["session_id"]
    usual = any(principal.habits["asn"].get(network, [0, session_id])[1] != session_id for network in networks)
    usual |= principal.devices.are_with(event, networks)
    hides = anonymity(event)
    new = (hides == NEW_TOR or not usual) and principal.anonymisers.get(hides or "", session_id) == session_id
    return ([hides] if new and hides else []) + [OFF_HOME] * is_off_home(principal, networks, event)


def excused(hints: list[str], answer: Mapping[str, Any]) -> list[str]:
    """*hints* without that of a VPN, where it is *said* now that the device is in that network too."""
    return [hint for hint in hints if hint != NEW_ANONYMISER or not answer["known_asn"]]


def anonymity(event: Mapping[str, Any]) -> str | None:
    """How *event* hides its user: geo databases disagree on what is a VPN and what a data centre."""
    kind = event["network_type"]
    if event["principal_kind"] != "human" or kind not in HIDING:
        return None
    return NEW_TOR if kind == "tor" else NEW_ANONYMISER


class Settled(Protocol):
    """What is remembered of a principal that may be a workload.

    *workload* is what its credentials were minted for, empty for all others. *homes* maps the networks it is
    at home in to the session that taught each, or to nothing where the issuer told.
    """

    sessions_seen: int
    workload: str
    homes: dict[str, str]


def is_off_home(principal: Settled, networks: list[str], event: Mapping[str, Any]) -> bool:
    """Whether a workload's credential is shown from none of its homes, as far as those are known.

    An address of the inside comes from where the workload is, by a private link. A job of continuous
    integration runs wherever its provider has a machine free: only its issuer knows where that may be.
    """
    by_key = _told_home(event)
    homes = principal.homes | by_key
    if not (principal.workload or event["workload"]) or not networks or is_inside(event["ip"]):
        return False
    if not homes or (ANYWHERE in homes and not by_key) or not are_comparable(networks, homes):
        return False
    return not homes.keys() & set(networks) and not _is_learning(principal, homes, event)


def learn_home(principal: Settled, networks: list[str], event: Mapping[str, Any]) -> None:
    """Take a home that the issuer tells; else learn it of the first sessions, if all of them start there."""
    principal.workload = event["workload"] or principal.workload
    if by_key := _told_home(event):
        principal.homes.pop(ANYWHERE, None)
        principal.homes |= by_key
    elif (
        principal.workload not in {"", "ci"}
        and not is_inside(event["ip"])
        and _is_learning(principal, principal.homes, event)
    ):
        known = principal.homes.keys()
        stays = not known or known & set(networks) or not networks
        for network in networks if stays else [ANYWHERE]:
            principal.homes.setdefault(network, event["session_id"])
    while len(principal.homes) > MOST_HOMES:
        del principal.homes[next(iter(principal.homes))]


def _is_learning(principal: Settled, homes: Mapping[str, str], event: Mapping[str, Any]) -> bool:
    """Whether the event shows a home; a credential that moves from where it was first seen shows none."""
    flag, starts = "" in homes.values(), event["kind"] == "started"
    return not homes or (starts and principal.sessions_seen <= HOME_SESSIONS and not flag)


def _told_home(event: Mapping[str, Any]) -> dict[str, str]:
    """The networks that the credential's issuer calls its home."""
    number = None if event["home_asn"] is None else network_name(None, event["home_asn"])
    return {name: "" for name in (number, event["home_prefix"]) if name is not None}


def is_placed(event: dict[str, Any]) -> bool:
    """Whether the event tells where it was, and that is no gateway's place."""
    place = event["latitude"] is not None and event["longitude"] is not None
    return place and event["network_type"] not in HIDING


def place_of(event: Mapping[str, Any]) -> list[Any]:
    """``[latitude, longitude, at, session, prefix, km by which it may be wrong, country]`` of an event."""
    place = [event["latitude"], event["longitude"], event["occurred_at"], event["session_id"]]
    return [*place, network_name(event["ip"], None), near_km(event["network_type"]), event["country"]]


def speed_from(last: Sequence[Any], event: dict[str, Any]) -> float | None:
    """km/h from the *last* place of a principal, if another session was there."""
    if not is_placed(event) or not last or last[3] == event["session_id"]:
        return None
    # A place that an earlier version kept does not say how far it may be wrong.
    lat, lon, at, _, prefix, near, country = (*last, NEAR_CELLULAR_KM, None)[:7]
    if prefix is not None and prefix == network_name(event["ip"], None):
        return 0.0
    gone = distance_km(lat, lon, event["latitude"], event["longitude"])
    near = max(near, near_km(event["network_type"]))
    if country is not None and country == event["country"]:
        near = max(near, NEAR_IN_COUNTRY_KM)
    if gone <= near:
        return 0.0
    hours: float = max(abs(event["occurred_at"] - at), 1000) / 3_600_000
    return round(gone / hours, 1)
