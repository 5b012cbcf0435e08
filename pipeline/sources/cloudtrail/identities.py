"""Identities: new access keys in the responses of calls, whose they are, and what kind of principal a session has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pipeline.sources.cloudtrail.catalogue import ISSUES_KEY
from pipeline.sources.cloudtrail.record import Entry, Identity, bounded, name


@dataclass(frozen=True, slots=True)
class Issuance:
    """A session that *entry* started by issuing an access key; *parent*: the session that asked for it, if known."""

    entry: Entry
    session_id: str
    holder: Identity
    parent: str | None

    @property
    def tenant(self) -> str:
        """The tenant of the holder's account, which for a role in another account is not the caller's."""
        return f"aws-{self.holder.account}" if self.holder.account else self.entry.tenant

    @property
    def by_service(self) -> bool:
        """Whether an AWS service asked for the credentials, as for its instances and functions."""
        return self.entry.caller.type == "AWSService"


def new_key(entry: Entry) -> str | None:
    """Return the access key in the response of *entry*, None if it issued none."""
    path = ISSUES_KEY.get(entry.operation)
    return name(_within(entry.response, path.key), 128) if path and entry.error_code is None else None


def new_holder(entry: Entry) -> Identity:
    """Return the holder of the new access key of *entry*, as far as request and response show it."""
    path, key = ISSUES_KEY[entry.operation], new_key(entry)
    if path.holder is not None:
        arn = bounded(_within(entry.response, path.holder), 2048)
        role = bounded(entry.request.get("roleArn"), 2048)
        return Identity("AssumedRole" if role else "FederatedUser", arn, _account(arn), key, issuer_arn=role)
    if entry.operation == "iam:CreateAccessKey":
        return _user(entry, key)
    if entry.operation == "sts:AssumeRoot":
        return _root(entry, key)
    return replace(entry.caller, key=key, created=entry.time)


def _user(entry: Entry, key: str | None) -> Identity:
    caller = entry.caller
    user = bounded(_within(entry.response, ("accessKey", "userName")), 128) or caller.user
    arn = caller.arn
    if user != caller.user:
        arn = f"arn:{_partition(caller.arn)}:iam::{caller.account}:user/{user}"
    return Identity("IAMUser", arn, caller.account, key, user)


def _root(entry: Entry, key: str | None) -> Identity:
    named = re.search(r"\d{12}", str(entry.request.get("targetPrincipal")))
    account = named[0] if named else None
    arn = f"arn:{_partition(entry.caller.arn)}:iam::{account}:root" if account else None
    return Identity("Root", arn, account, key, created=entry.time)


def _within(value: Mapping[str, Any], path: tuple[str, str]) -> Any:
    inner = value.get(path[0])
    return inner.get(path[1]) if isinstance(inner, dict) else None


def _partition(arn: str | None) -> str:
    parts = (arn or "").split(":")
    return parts[1] if len(parts) > 1 else "aws"


def _account(arn: str | None) -> str | None:
    parts = (arn or "").split(":")
    return bounded(parts[4], 60) if len(parts) > 5 else None


INSTANCE: Final = re.compile(r"i-[0-9a-fA-F]{8,17}")
SERVICE_ROLE: Final = ":role/aws-service-role/"
SSO_ROLE: Final = ":role/aws-reserved/sso.amazonaws.com/"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the log shows of one session: the caller, its calls, its issuance, and whether it is of the console."""

    identity: Identity
    calls: Sequence[Entry]
    issuance: Issuance | None
    console: bool


def shown_kind(evidence: Evidence) -> str | None:
    """Return the principal kind that the session's own records show, None if they show none."""
    if _is_service(evidence):
        return "service"
    if _is_human(evidence):
        return "human"
    return "api_key" if _is_long_lived_key(evidence) else None


def instance(evidence: Evidence) -> str | None:
    """Return the EC2 instance that the session is named after; a name that a caller chose proves nothing."""
    session_name = (evidence.identity.arn or "").rpartition("/")[2]
    chosen = evidence.issuance is not None and not evidence.issuance.by_service
    named = evidence.identity.type == "AssumedRole" and INSTANCE.fullmatch(session_name)
    return session_name if named and not chosen else None


def principal(evidence: Evidence, kind: str) -> str | None:
    """Return the principal of the session: person, user or instance, or the role if session names are transient."""
    identity = evidence.identity
    transient = identity.type == "AssumedRole" and kind != "human" and instance(evidence) is None
    return name((identity.issuer_arn if transient else None) or identity.arn or identity.principal, 128)


def _is_service(evidence: Evidence) -> bool:
    identity, issuance = evidence.identity, evidence.issuance
    return (
        instance(evidence) is not None
        or identity.on_instance
        or is_service_role(identity)
        or (issuance is not None and issuance.by_service)
    )


def is_service_role(identity: Identity) -> bool:
    """Whether *identity* is a role that an AWS service has for itself."""
    return SERVICE_ROLE in (identity.issuer_arn or "") or (identity.key is None and identity.invoked_by is not None)


def _is_human(evidence: Evidence) -> bool:
    issuance = evidence.issuance
    return (
        evidence.console
        or SSO_ROLE in (evidence.identity.issuer_arn or "")
        or any(call.caller.mfa for call in evidence.calls)
        or (issuance is not None and issuance.entry.operation == "sts:AssumeRoleWithSAML")
    )


def _is_long_lived_key(evidence: Evidence) -> bool:
    if evidence.issuance is not None:
        return evidence.issuance.entry.operation == "iam:CreateAccessKey"
    return evidence.identity.created is None and evidence.identity.type in {"IAMUser", "Root"}
