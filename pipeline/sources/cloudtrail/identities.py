"""Credentials made by a call: the new access key in its answer, whose it is, and the session it begins."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pipeline.sources.cloudtrail.catalogue import MINTS
from pipeline.sources.cloudtrail.record import Entry, Identity, bounded, name


@dataclass(frozen=True, slots=True)
class Birth:
    """A session that the answer of *entry* began; *parent*: the session that asked, where there is one."""

    entry: Entry
    session_id: str
    holder: Identity
    parent: str | None

    @property
    def tenant(self) -> str:
        """The account of the holder, which for a role of another account is not the caller's."""
        return f"aws-{self.holder.account}" if self.holder.account else self.entry.tenant

    @property
    def by_service(self) -> bool:
        """Tell whether an AWS service asked for the credentials, as for its instances and functions."""
        return self.entry.caller.type == "AWSService"


def new_key(entry: Entry) -> str | None:
    """Return the access key that the answer of *entry* holds, None where it made none."""
    mint = MINTS.get(entry.operation)
    return name(_within(entry.response, mint.key), 128) if mint and entry.error_code is None else None


def new_holder(entry: Entry) -> Identity:
    """Return whose the new access key of *entry* is, as far as request and answer tell."""
    mint, key = MINTS[entry.operation], new_key(entry)
    if mint.holder is not None:
        arn = bounded(_within(entry.response, mint.holder), 2048)
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
    """What the log shows of one session: who calls, its calls, its birth, and whether the console has it."""

    identity: Identity
    calls: Sequence[Entry]
    birth: Birth | None
    console: bool


def shown_kind(evidence: Evidence) -> str | None:
    """Return the kind the session itself shows, None where it shows none."""
    if _is_service(evidence):
        return "service"
    if _is_human(evidence):
        return "human"
    return "api_key" if _is_long_lived_key(evidence) else None


def instance(evidence: Evidence) -> str | None:
    """Return the EC2 instance whose session this is by its name; one that a caller chose proves nothing."""
    session_name = (evidence.identity.arn or "").rpartition("/")[2]
    chosen = evidence.birth is not None and not evidence.birth.by_service
    named = evidence.identity.type == "AssumedRole" and INSTANCE.fullmatch(session_name)
    return session_name if named and not chosen else None


def principal(evidence: Evidence, kind: str) -> str | None:
    """Return whose session it is: person, user or instance, or the role where session names only pass."""
    identity = evidence.identity
    passing = identity.type == "AssumedRole" and kind != "human" and instance(evidence) is None
    return name((identity.issuer_arn if passing else None) or identity.arn or identity.principal, 128)


def _is_service(evidence: Evidence) -> bool:
    identity, birth = evidence.identity, evidence.birth
    return (
        instance(evidence) is not None
        or identity.on_instance
        or is_service_role(identity)
        or (birth is not None and birth.by_service)
    )


def is_service_role(identity: Identity) -> bool:
    """Tell whether *who* is a role that an AWS service holds for itself."""
    return SERVICE_ROLE in (identity.issuer_arn or "") or (identity.key is None and identity.invoked_by is not None)


def _is_human(evidence: Evidence) -> bool:
    birth = evidence.birth
    return (
        evidence.console
        or SSO_ROLE in (evidence.identity.issuer_arn or "")
        or any(call.caller.mfa for call in evidence.calls)
        or (birth is not None and birth.entry.operation == "sts:AssumeRoleWithSAML")
    )


def _is_long_lived_key(evidence: Evidence) -> bool:
    if evidence.birth is not None:
        return evidence.birth.entry.operation == "iam:CreateAccessKey"
    return evidence.identity.created is None and evidence.identity.type in {"IAMUser", "Root"}
