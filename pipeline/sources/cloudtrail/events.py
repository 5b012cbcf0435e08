"""Events made from one CloudTrail entry: the call, the change of a credential, the start of a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pipeline.sources import Event
from pipeline.sources.cloudtrail.catalogue import (
    CREDENTIALS,
    ISSUES_KEY,
    SIGN_IN,
    records,
    resource,
    sensitivity,
    status,
)
from pipeline.sources.cloudtrail.identities import Issuance
from pipeline.sources.cloudtrail.record import Entry, digest, name
from pipeline.sources.cloudtrail.sessions import Session, Sessions, signed_in

METHOD: Final = {True: "READ", False: "WRITE", None: None}


def events_of(entry: Entry, sessions: Sessions) -> Iterator[Event]:
    """Yield the events of *entry*; none if its caller has no session and it starts none."""
    if entry.operation in SIGN_IN:
        yield from _at_sign_in(entry, sessions)
        return
    session = sessions.of(entry)
    if session is not None:
        if sessions.is_first_seen(entry, session):
            yield _start(entry, session)
        yield _call(entry, session)
        if entry.operation in CREDENTIALS and entry.error_code is None:
            action = CREDENTIALS[entry.operation]
            yield _auth(entry, session, action, "credential", reason=entry.operation)
    issuance = sessions.issuance(entry)
    if issuance is not None:
        yield _issued(issuance, sessions)


def _at_sign_in(entry: Entry, sessions: Sessions) -> Iterator[Event]:
    """Yield a sign-in; one that failed belongs to the sign-in page, whose session is `signin:ACCOUNT:USER`."""
    amr = _amr(entry)
    session = sessions.of(entry) if signed_in(entry) else _at_page(entry, sessions)
    if session is None:
        return
    action = SIGN_IN[entry.operation]
    if action == "sign_in" and not signed_in(entry):
        yield _auth(entry, session, "sign_in_failed", "sign-in", amr=amr, reason=entry.error_message)
    else:
        yield _auth(entry, session, action, "sign-in", amr=amr)


def _at_page(entry: Entry, sessions: Sessions) -> Session | None:
    identity = entry.caller
    user = "root" if identity.type == "Root" else identity.user or identity.principal
    if user is None:
        return None
    page = name(f"signin:{identity.account or entry.tenant.removeprefix('aws-')}:{user}", 128) or user
    return Session(page, name(sessions.arn(identity) or user, 128) or page, "human")


def _amr(entry: Entry) -> list[str] | None:
    """Return the methods of a sign-in as RFC 8176 names them; the first factor of a federated one is unknown."""
    password = ["pwd"] if entry.caller.type in {"IAMUser", "Root"} and entry.operation == "signin:ConsoleLogin" else []
    second = ["mfa"] if entry.extra.get("MFAUsed") == "Yes" else []
    return password + second or None


def _start(entry: Entry, session: Session) -> Event:
    if session.principal_kind == "human":
        return _auth(entry, session, "sign_in", "start", amr=["mfa"] if entry.caller.mfa else None)
    return _auth(entry, session, "token_issued", "start")


def _issued(issuance: Issuance, sessions: Sessions) -> Event:
    entry, session = issuance.entry, sessions.get(issuance.session_id)
    same_client = ISSUES_KEY[entry.operation].same_client
    return _event(
        "auth.event",
        f"{entry.event_id}:born",
        sessions.issued_at(issuance),
        issuance.tenant,
        session,
        ip=entry.ip if same_client else None,
        user_agent=entry.user_agent if same_client else None,
        token_id=digest(issuance.holder.key or ""),
        action="token_exchanged" if issuance.parent else "token_issued",
        parent_session_id=issuance.parent,
        workload=_workload(session),
        reason=entry.operation,
    )


def _auth(entry: Entry, session: Session, action: str, part: str, **fields: Any) -> Event:
    event_id = f"{entry.event_id}:{part}"
    return _by_client("auth.event", event_id, entry, session, action=action, workload=_workload(session), **fields)


def _workload(session: Session) -> str | None:
    """What the credential was issued for, as far as CloudTrail shows; it does not show where that workload runs."""
    return None if session.device_id is None else "instance"


def _call(entry: Entry, session: Session) -> Event:
    code = status(entry.error_code)
    return _by_client(
        "api.call",
        entry.event_id,
        entry,
        session,
        operation=entry.operation,
        status=code,
        method=METHOD[entry.read_only],
        bytes_in=_count(entry.extra.get("bytesTransferredIn")),
        bytes_out=_count(entry.extra.get("bytesTransferredOut")),
        records=records(entry.operation, entry.request) if code == 200 else 0,
        sensitivity=sensitivity(entry.operation, entry.request, entry.tenant.removeprefix("aws-")),
        resource=resource(entry.touched, entry.request),
    )


def _by_client(type_: str, event_id: str, entry: Entry, session: Session, **fields: Any) -> Event:
    """Return an event that the session's own client caused."""
    token = digest(entry.caller.key) if entry.caller.key else None
    client = {"ip": entry.ip, "user_agent": entry.user_agent, "token_id": token}
    return _event(type_, event_id, entry.at_ms, entry.tenant, session, **client, **fields)


def _event(type_: str, event_id: str, at_ms: int, tenant: str, session: Session, **fields: Any) -> Event:
    """Return an event of *session* as it is on the wire: fields without a value are left out."""
    event = {
        "type": type_,
        "event_id": event_id,
        "occurred_at": at_ms,
        "tenant": tenant,
        "session_id": session.session_id,
        "principal_id": session.principal_id,
        "principal_kind": session.principal_kind,
        "device_id": session.device_id,
        **fields,
    }
    return {field: value for field, value in event.items() if value is not None}


def _count(value: Any) -> int | None:
    """Return a count, which CloudTrail may write as a float; None if it is not a count or out of bounds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and 0 <= value < 2**53 else None
