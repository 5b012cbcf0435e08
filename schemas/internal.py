"""What scorer and contexts tell each other: messages that only our own workers write and read.

`occurred_at` is the time of the event that made us say it.
"""

from typing import Annotated, Literal

from pydantic import Field

from schemas.decisions import Suppression
from schemas.members import (
    Client,
    Count,
    Envelope,
    Home,
    Id,
    Millis,
    Name,
    NetworkType,
    Posture,
    PrincipalKind,
    ShortText,
)

Volume = Annotated[float, Field(ge=0)]
Volumes = Annotated[dict[Name, Volume], Field(max_length=32)]
"""Most of each volume of `models/features/volumes.py`, by its name, in its own unit."""


Use = Annotated[str, Field(pattern=r"^(scope|operation|tool|unheard):", max_length=300)]


class SessionContext(Posture, Envelope):
    """What its device, its principal, its lineage or its network means for a session.

    Members by `source`. device: `heard_at` (when the device's newest telemetry arrived, but no earlier than
    one interval before it was used again) and its posture.
    principal: `known_*` (seen before for this principal), `novelty`, `concurrent_sessions`, `sessions_seen`
    (length of the history), `place_speed_kmh` (from the principal's last place in another session) and
    `usual_asn`; of what is usual for it, learned on `days_known` days: `usual` volumes, `usual_concurrent`
    sessions, `hour_share` (of what was learned, active at this hour), beside `strange_sessions` of it (live,
    on no device of its own; none for a session on one that is) on `strange_networks`. lineage: `relation`
    `child` tells a parent which `child_session_id` was born of it, `ancestor_revoked` tells a child that
    `root_session_id` fell.
    network: `network_principals`, the others that its signals rest on. feedback: `muted`, the detections
    that somebody called false positives of it, each with the time until which it keeps quiet. `signals`
    (`models/events/context_signals.py`) are those of the source that hold now; absent, they are as they were. `details`
    says of a signal in words what was seen or, where the signal does not hold, what excuses it.
    """

    type: Literal["session.context"]
    session_id: Id
    source: Literal["device", "principal", "lineage", "network", "feedback"]
    signals: Annotated[list[Name], Field(max_length=64)] | None = None
    details: Annotated[dict[Name, ShortText], Field(max_length=64)] | None = None
    device_id: Id | None = None
    heard_at: Millis | None = None
    known_device: bool | None = None
    known_asn: bool | None = None
    known_country: bool | None = None
    known_client: bool | None = None
    novelty: Annotated[float, Field(ge=0, le=1)] | None = None
    concurrent_sessions: Count | None = None
    sessions_seen: Count | None = None
    place_speed_kmh: Annotated[float, Field(ge=0)] | None = None
    usual_asn: bool | None = None
    days_known: Count | None = None
    usual: Volumes | None = None
    usual_concurrent: Count | None = None
    hour_share: Annotated[float, Field(ge=0, le=1)] | None = None
    strange_sessions: Count | None = None
    strange_networks: Count | None = None
    relation: Literal["child", "ancestor_revoked"] | None = None
    child_session_id: Id | None = None
    root_session_id: Id | None = None
    muted: Annotated[dict[Name, Millis], Field(max_length=64)] | None = None
    network_principals: Count | None = None


class SessionBinding(Envelope):
    """This session lives on this device, or has ended there."""

    type: Literal["session.binding"]
    device_id: Id
    session_id: Id
    principal_id: Id
    principal_kind: PrincipalKind
    state: Literal["live", "ended"]


class PrincipalActivity(Home, Client, Envelope):
    """What a session reveals about its principal.

    Where it started, changed client, ended or was revoked; what became of the principal's factors; and that
    the telemetry of its device comes from another network (``device_moved``: only of the device).

    `muted`: a verdict on it was that `suppression`'s detections are false positives of this principal.
    `vouched`: an analyst said that what it was suspected for was honest. `used` are scopes, sensitive
    operations and agents' tools it had not used before (`scope:NAME`, `operation:NAME`, `tool:NAME`, and
    `unheard:NAME` of an operation the model does not know); `peaks` the most it did since it last told.
    """

    type: Literal["principal.activity"]
    session_id: Id
    principal_id: Id
    principal_kind: PrincipalKind
    kind: Literal[
        "started",
        "client_changed",
        "used",
        "summary",
        "ended",
        "revoked",
        "credential_added",
        "credential_changed",
        "credential_removed",
        "recovery_started",
        "muted",
        "vouched",
        "device_moved",
    ]
    device_id: Id | None = None
    suppression: Suppression | None = None
    used: Annotated[list[Use], Field(max_length=64)] | None = None
    peaks: Volumes | None = None
    guess: Literal[True] | None = None


class NetworkActivity(Envelope):
    """What an attempt to authenticate reveals about the network it came from (`models/events/networks.py`)."""

    type: Literal["network.activity"]
    network: Id
    session_id: Id
    principal_id: Id
    principal_kind: PrincipalKind
    action: Literal["sign_in", "sign_in_failed", "mfa_passed", "mfa_denied", "mfa_failed"]
    network_type: NetworkType | None = None
    ja4: Name | None = None
