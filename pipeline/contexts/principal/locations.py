"""Networks and locations of a principal: a new anonymiser, a workload away from home, and impossible travel.

A person who never came through a VPN, a data centre or Tor, and a credential that was issued for one machine, have in
common that the new network is suspicious in itself; what is usual is learned per principal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from models.events.networks import HIDING, is_inside, network_name
from models.updates.client import NEAR_IN_COUNTRY_KM, distance_km, near_km
from pipeline.contexts.network_names import are_comparable
from pipeline.contexts.principal.state import Location, PrincipalState
from pipeline.times import HOUR_MS
from schemas.records import PrincipalActivityDict

NEW_ANONYMISER, NEW_TOR, OFF_HOME = "new_anonymiser", "new_tor", "off_home"
HOME_SESSIONS: Final = 3
"""Sessions of a workload that show where its home is, if the issuer does not name it."""
ANYWHERE: Final = "*"
"""In place of homes: the first sessions began in networks that have nothing in common."""
MAX_HOMES: Final = 16


def signals(principal: PrincipalState, networks: list[str], event: PrincipalActivityDict) -> list[str]:
    """The signals about the *networks* of *event*; to be asked before anything is learned from it."""
    session_id = event["session_id"]
    known = principal.known["asn"]
    usual = any(network in known and known[network].learned_from != session_id for network in networks)
    usual |= principal.devices.confirms(event, networks)
    anonymiser = anonymiser_of(event)
    is_new = principal.anonymisers.get(anonymiser or "", session_id) == session_id
    raised = [anonymiser] if anonymiser and is_new and (anonymiser == NEW_TOR or not usual) else []
    return raised + [OFF_HOME] * is_off_home(principal, networks, event)


def without_excused(raised: list[str], context: Mapping[str, Any]) -> list[str]:
    """The signals *raised*, without that of a VPN if *context* says that the device is in that network too."""
    return [signal for signal in raised if signal != NEW_ANONYMISER or not context["known_asn"]]


def anonymiser_of(event: PrincipalActivityDict) -> str | None:
    """How *event* hides its user. Geo databases disagree on what is a VPN and what a data centre: these are one."""
    network_type = event["network_type"]
    if event["principal_kind"] != "human" or network_type not in HIDING:
        return None
    return NEW_TOR if network_type == "tor" else NEW_ANONYMISER


def is_off_home(principal: PrincipalState, networks: list[str], event: PrincipalActivityDict) -> bool:
    """Whether a workload's credential is used from none of its homes, as far as those are known.

    A private address comes from where the workload is, by a private link. A job of continuous integration runs
    wherever its provider has a free machine: only its issuer knows where that may be.
    """
    named = _homes_named_by_issuer(event)
    homes = principal.homes | named
    if not (principal.workload or event["workload"]) or not networks or is_inside(event["ip"]):
        return False
    if not homes or (ANYWHERE in homes and not named) or not are_comparable(networks, homes):
        return False
    return not homes.keys() & set(networks) and not _is_learning(principal, homes, event)


def learn_home(principal: PrincipalState, networks: list[str], event: PrincipalActivityDict) -> None:
    """Take the home that the issuer names; else learn it from the first sessions, if all of them start there."""
    principal.workload = event["workload"] or principal.workload
    if named := _homes_named_by_issuer(event):
        principal.homes.pop(ANYWHERE, None)
        principal.homes |= named
    elif (
        principal.workload not in {"", "ci"}
        and not is_inside(event["ip"])
        and _is_learning(principal, principal.homes, event)
    ):
        known = principal.homes.keys()
        stays = not known or known & set(networks) or not networks
        for network in networks if stays else [ANYWHERE]:
            principal.homes.setdefault(network, event["session_id"])
    while len(principal.homes) > MAX_HOMES:
        del principal.homes[next(iter(principal.homes))]


def _is_learning(principal: PrincipalState, homes: Mapping[str, str], event: PrincipalActivityDict) -> bool:
    """Whether *event* may show a home; a credential that moves away from where it was first seen shows none."""
    named, starts = "" in homes.values(), event["kind"] == "started"
    return not homes or (starts and principal.sessions_seen <= HOME_SESSIONS and not named)


def _homes_named_by_issuer(event: PrincipalActivityDict) -> dict[str, str]:
    number = None if event["home_asn"] is None else network_name(None, event["home_asn"])
    return {name: "" for name in (number, event["home_prefix"]) if name is not None}


def location_of(event: PrincipalActivityDict) -> Location | None:
    """Where *event* was; `None` if it does not say so, or if that is only where a gateway stands."""
    latitude, longitude = event["latitude"], event["longitude"]
    if latitude is None or longitude is None or event["network_type"] in HIDING:
        return None
    return Location(
        latitude,
        longitude,
        at=event["occurred_at"],
        session_id=event["session_id"],
        prefix=network_name(event["ip"], None),
        radius_km=near_km(event["network_type"]),
        country=event["country"],
    )


def learn_location(principal: PrincipalState, event: PrincipalActivityDict) -> None:
    """Take where *event* was, unless its network is cellular: its address is placed at the carrier's gateway."""
    location = location_of(event)
    if location is not None and event["network_type"] != "cellular":
        principal.location = location


def speed_kmh(principal: PrincipalState, event: PrincipalActivityDict) -> float | None:
    """The speed from the principal's last location, if another session was there, to that of *event*."""
    last, here = principal.location, location_of(event)
    if here is None or not last or last.session_id == here.session_id:
        return None
    if last.prefix is not None and last.prefix == here.prefix:
        return 0.0
    distance = distance_km(last.latitude, last.longitude, here.latitude, here.longitude)
    radius = max(last.radius_km, here.radius_km)
    if last.country is not None and last.country == here.country:
        radius = max(radius, NEAR_IN_COUNTRY_KM)
    if distance <= radius:
        return 0.0
    hours: float = max(abs(here.at - last.at), 1000) / HOUR_MS
    return round(distance / hours, 1)
