"""Sessions of CloudTrail calls, and the parent of each session.

- A session is identified by its access key. The console uses one key per page, so a console session is identified by
  who signed in and when (`arn@creationDate`), which is also what a revocation by token age ends.
- Roles that act for a service have no key in the log: their session is `arn@creationDate`, too.
- A call that a service forwards with credentials that it issued itself belongs to no known session, unless the same
  credentials are also used directly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipeline.sources.cloudtrail.catalogue import SIGN_IN
from pipeline.sources.cloudtrail.identities import (
    Evidence,
    Issuance,
    instance,
    is_service_role,
    new_holder,
    new_key,
    principal,
    shown_kind,
)
from pipeline.sources.cloudtrail.record import Entry, Identity, name

ID_LIMIT: Final = 128


@dataclass(frozen=True, slots=True)
class Session:
    """The fields that all events of a session share; *device_id* is the EC2 instance that has the role."""

    session_id: str
    principal_id: str
    principal_kind: str
    device_id: str | None = None


class Sessions:
    """All sessions of a set of entries, which are given at once and in order of time."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        issuing = [entry for entry in entries if new_key(entry) is not None]
        self._issued_keys = {new_key(entry) for entry in issuing}
        self._console = {_since(caller(e)) for e in entries if e.from_console or signed_in(e)}
        users = (entry.caller for entry in entries if entry.caller.type == "IAMUser" and entry.caller.arn)
        self._arns = {(user.account, user.user): user.arn for user in users}
        self._by_key: dict[str, str] = {}
        self._calls: dict[str, list[Entry]] = {}
        self._place(entry for entry in entries if not forwarded(entry))
        self._issuances = self._find_issuances(issuing)
        self._place(entry for entry in entries if forwarded(entry) and self._is_known(entry))
        for calls in self._calls.values():
            calls.sort(key=lambda call: (call.at_ms, call.event_id))
        self._by_event_id = {issuance.entry.event_id: issuance for issuance in self._issuances.values()}
        self._sessions: dict[str, Session] = {}

    def of(self, entry: Entry) -> Session | None:
        """Return the session that *entry* is a call of, or that it opened; None if it has no known session."""
        session_id = self._id(caller(entry))
        return self.get(session_id) if session_id is not None and session_id in self._calls else None

    def get(self, session_id: str) -> Session:
        """Return the session with this id, which must be one of the entries'."""
        if session_id not in self._sessions:
            self._sessions[session_id] = self._describe(session_id)
        return self._sessions[session_id]

    def arn(self, identity: Identity) -> str | None:
        """Return the ARN of *identity*; if a sign-in was logged without one, that of the same user elsewhere."""
        return identity.arn or self._arns.get((identity.account, identity.user))

    def issuance(self, entry: Entry) -> Issuance | None:
        """Return the issuance of a session by *entry*, if it issued one."""
        return self._by_event_id.get(entry.event_id)

    def issued_at(self, issuance: Issuance) -> int:
        """Return the time of *issuance* in ms; never after the session's first call, as clocks may differ."""
        calls = self._calls.get(issuance.session_id, [])
        return min(call.at_ms for call in (issuance.entry, *calls[:1]))

    def is_first_seen(self, entry: Entry, session: Session) -> bool:
        """Whether *entry* is the first call of *session* in the log, which lacks its issuance or sign-in."""
        calls = self._calls[session.session_id]
        return calls[0] is entry and session.session_id not in self._issuances and not any(map(signed_in, calls))

    def _place(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            identity = caller(entry)
            session_id = None if entry.operation in SIGN_IN and not signed_in(entry) else self._id(identity)
            if session_id is not None:
                self._calls.setdefault(session_id, []).append(entry)
                if identity.key is not None:
                    self._by_key.setdefault(identity.key, session_id)

    def _is_known(self, entry: Entry) -> bool:
        session_id = self._id(entry.caller)
        return session_id in self._calls or session_id in self._issuances

    def _id(self, identity: Identity) -> str | None:
        since = f"{identity.arn}@{identity.created}" if identity.arn and identity.created else None
        if since and self._spans_keys(identity):
            return name(since, ID_LIMIT)
        if identity.key:
            return identity.key
        return name(since or identity.arn, ID_LIMIT) if identity.type == "AssumedRole" else None

    def _spans_keys(self, identity: Identity) -> bool:
        if _since(identity) in self._console:
            return True
        return identity.key not in self._issued_keys and identity.type in {"IAMUser", "Root"}

    def _find_issuances(self, issuing: Iterable[Entry]) -> dict[str, Issuance]:
        """Return one issuance per new session: if two accounts logged it, the one that knows the parent."""
        issuances: dict[str, Issuance] = {}
        for entry in issuing:
            issuance = self._issuance_of(entry)
            other = issuances.get(issuance.session_id)
            if other is None or (other.parent is None and issuance.parent is not None):
                issuances[issuance.session_id] = issuance
        return issuances

    def _issuance_of(self, entry: Entry) -> Issuance:
        holder = new_holder(entry)
        key = holder.key or ""
        session_id = self._by_key.get(key, key)
        parent = self._id(entry.caller)
        known = parent in self._calls and parent != session_id
        return Issuance(entry, session_id, holder, parent if known else None)

    def _describe(self, session_id: str) -> Session:
        evidence, kind = self._evidence(session_id), self._kind(session_id)
        return Session(session_id, principal(evidence, kind) or session_id, kind, instance(evidence))

    def _evidence(self, session_id: str) -> Evidence:
        calls, issuance = self._calls.get(session_id, []), self._issuances.get(session_id)
        identity = caller(calls[0]) if calls or issuance is None else issuance.holder
        return Evidence(identity, calls, issuance, _since(identity) in self._console)

    def _kind(self, session_id: str) -> str:
        """Return the principal kind that the session shows, else that of its nearest ancestor that shows one."""
        seen: set[str] = set()
        current: str | None = session_id
        while current is not None and current not in seen:
            seen.add(current)
            evidence = self._evidence(current)
            if kind := shown_kind(evidence):
                return kind
            current = evidence.issuance.parent if evidence.issuance else None
        return "api_key"


def caller(entry: Entry) -> Identity:
    """Return the caller; at a sign-in, who signed in, with the time that the keys of the console session will have."""
    if signed_in(entry):
        return replace(entry.caller, created=entry.caller.created or entry.time)
    return entry.caller


def forwarded(entry: Entry) -> bool:
    """Whether a service made the call with credentials that it forwards for somebody."""
    identity = entry.caller
    return identity.invoked_by is not None and identity.key is not None and not is_service_role(identity)


def signed_in(entry: Entry) -> bool:
    """Whether *entry* is a successful sign-in to the console."""
    return entry.operation == "signin:ConsoleLogin" and entry.response.get("ConsoleLogin") == "Success"


def _since(identity: Identity) -> tuple[str | None, str | None]:
    return identity.arn, identity.created
