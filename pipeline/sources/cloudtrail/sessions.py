"""Whose session each CloudTrail call belongs to, and which session that was born from.

- A session is its access key. A console sign-in hands out a key per page, so there the session is who signed
  in and when (`arn@creationDate`), which is also what a revocation by token age ends.
- Roles acting for a service have no key in the log: their session is `arn@creationDate` too.
- A call forwarded by a service with credentials of its own making belongs to no session we know, unless the
  same credentials are also used directly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipeline.sources.cloudtrail.catalogue import SIGN_IN
from pipeline.sources.cloudtrail.identities import (
    Birth,
    Evidence,
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
    """What every event of a session says of it; *device_id* is the EC2 instance that was given its role."""

    session_id: str
    principal_id: str
    principal_kind: str
    device_id: str | None = None


class Sessions:
    """Every session of a set of entries: built once over all of them, in order of time, then asked."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        mints = [entry for entry in entries if new_key(entry) is not None]
        self._minted = {new_key(entry) for entry in mints}
        self._console = {_since(caller(e)) for e in entries if e.from_console or signed_in(e)}
        users = (entry.caller for entry in entries if entry.caller.type == "IAMUser" and entry.caller.arn)
        self._arns = {(user.account, user.user): user.arn for user in users}
        self._by_key: dict[str, str] = {}
        self._calls: dict[str, list[Entry]] = {}
        self._place(entry for entry in entries if not forwarded(entry))
        self._births = self._find_births(mints)
        self._place(entry for entry in entries if forwarded(entry) and self._is_known(entry))
        for calls in self._calls.values():
            calls.sort(key=lambda call: (call.at_ms, call.event_id))
        self._born_by = {birth.entry.event_id: birth for birth in self._births.values()}
        self._sessions: dict[str, Session] = {}

    def of(self, entry: Entry) -> Session | None:
        """Return the session *entry* was called in, or that it opened; None where it has none we know."""
        session_id = self._id(caller(entry))
        return self.get(session_id) if session_id is not None and session_id in self._calls else None

    def get(self, session_id: str) -> Session:
        """Return the session with this id; KeyError where the entries have none."""
        if session_id not in self._sessions:
            self._sessions[session_id] = self._describe(session_id)
        return self._sessions[session_id]

    def arn(self, identity: Identity) -> str | None:
        """Return the ARN of *who*, which a sign-in may name without one, from what the other entries say."""
        return identity.arn or self._arns.get((identity.account, identity.user))

    def birth(self, entry: Entry) -> Birth | None:
        """Return the birth of a session that *entry* is, if it is one."""
        return self._born_by.get(entry.event_id)

    def born_at(self, birth: Birth) -> int:
        """Return when *birth* was, in ms; never after the session's first call, whatever the clocks said."""
        calls = self._calls.get(birth.session_id, [])
        return min(call.at_ms for call in (birth.entry, *calls[:1]))

    def begins(self, entry: Entry, session: Session) -> bool:
        """Tell whether *entry* is the first we see of *session*, whose birth or sign-in is not in the log."""
        calls = self._calls[session.session_id]
        return calls[0] is entry and session.session_id not in self._births and not any(map(signed_in, calls))

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
        return session_id in self._calls or session_id in self._births

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
        return identity.key not in self._minted and identity.type in {"IAMUser", "Root"}

    def _find_births(self, mints: Iterable[Entry]) -> dict[str, Birth]:
        """Return one birth per new session: where two accounts recorded it, the one that knows the parent."""
        births: dict[str, Birth] = {}
        for entry in mints:
            birth = self._birth(entry)
            birth_read = births.get(birth.session_id)
            if birth_read is None or (birth_read.parent is None and birth.parent is not None):
                births[birth.session_id] = birth
        return births

    def _birth(self, entry: Entry) -> Birth:
        holder = new_holder(entry)
        key = holder.key or ""
        session_id = self._by_key.get(key, key)
        parent = self._id(entry.caller)
        known = parent in self._calls and parent != session_id
        return Birth(entry, session_id, holder, parent if known else None)

    def _describe(self, session_id: str) -> Session:
        evidence, kind = self._evidence(session_id), self._kind(session_id)
        return Session(session_id, principal(evidence, kind) or session_id, kind, instance(evidence))

    def _evidence(self, session_id: str) -> Evidence:
        calls, birth = self._calls.get(session_id, []), self._births.get(session_id)
        identity = caller(calls[0]) if calls or birth is None else birth.holder
        return Evidence(identity, calls, birth, _since(identity) in self._console)

    def _kind(self, session_id: str) -> str:
        """Return the kind the session shows, else that of the session it was born from, to any depth."""
        seen: set[str] = set()
        current: str | None = session_id
        while current is not None and current not in seen:
            seen.add(current)
            evidence = self._evidence(current)
            if kind := shown_kind(evidence):
                return kind
            current = evidence.birth.parent if evidence.birth else None
        return "api_key"


def caller(entry: Entry) -> Identity:
    """Return who called; at a sign-in, who signed in, as the keys of the console session will name them."""
    if signed_in(entry):
        return replace(entry.caller, created=entry.caller.created or entry.time)
    return entry.caller


def forwarded(entry: Entry) -> bool:
    """Tell whether a service made the call with credentials it forwards for somebody."""
    identity = entry.caller
    return identity.invoked_by is not None and identity.key is not None and not is_service_role(identity)


def signed_in(entry: Entry) -> bool:
    """Tell whether *entry* is a sign-in to the console that succeeded."""
    return entry.operation == "signin:ConsoleLogin" and entry.response.get("ConsoleLogin") == "Success"


def _since(identity: Identity) -> tuple[str | None, str | None]:
    return identity.arn, identity.created
