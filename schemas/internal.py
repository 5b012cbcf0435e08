"""Internal records, between the session processor and the contexts: only workers write and read them.

`occurred_at` is the time of the event from which a record follows.
"""

from typing import Annotated, Literal

from pydantic import Field

from schemas.decisions import Suppression
from schemas.fields import (
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
"""The peak of each volume in `models/features/volumes.py`, by its name, in its own unit."""


Use = Annotated[str, Field(pattern=r"^(scope|operation|tool|unheard):", max_length=300)]


class SessionContext(Posture, Envelope):
    """What its device, its principal, its lineage or its network means for a session.

    Fields by `source`:

    - device: `heard_at` (when the device's newest telemetry arrived, but no earlier than one interval before it was
      used again) and its posture.
    - principal: `known_*` (seen before for this principal), `novelty`, `concurrent_sessions`, `sessions_seen` (length
      of the history), `place_speed_kmh` (speed from the principal's last location in another session) and `usual_asn`.
      What is usual for the principal, learned on `days_known` days: `usual` volumes, `usual_concurrent` sessions, and
      `hour_share` (the share of the history that was active at this hour). `strange_sessions` is the number of its
      live sessions on unfamiliar devices (0 for a session on a device of the principal's own), and `strange_networks`
      the number of networks that these come from.
    - lineage: `relation` `child` notifies a parent of its new child `child_session_id`, `ancestor_revoked` notifies a
      child that its ancestor `root_session_id` was revoked.
    - network: `network_principals`, the number of other principals on which its signals are based.
    - feedback: `muted`, the suppressed detections, each with the time when its suppression expires.

    `signals` (`models/events/context_signals.py`) are the source's signals that hold now; if absent, they are
    unchanged. `details` explains for a signal what was observed or, if the signal does not hold, what excuses it.
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
    """This session is live on this device, or has ended there."""

    type: Literal["session.binding"]
    device_id: Id
    session_id: Id
    principal_id: Id
    principal_kind: PrincipalKind
    state: Literal["live", "ended"]


class PrincipalActivity(Home, Client, Envelope):
    """What a session reveals about its principal.

    It started, changed its client, ended or was revoked; the principal's factors changed; or the telemetry of its
    device comes from another network (`device_moved`, with fields of the device only).

    `muted` means that a verdict on the session called the detections of `suppression` false positives for this
    principal, `vouched` that an analyst found the session honest. `used` lists scopes, sensitive operations and agents'
    tools that it had not used before (`scope:NAME`, `operation:NAME`, `tool:NAME`, and `unheard:NAME` for an operation
    that the model does not know); `peaks` are its peak volumes since its last summary. `guess` marks a failed sign-in.
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
