"""Of what kind a session is, and whose: human, service or API key, from what its calls and its birth show.

Never guesses: AWS calls nothing an agent, and what shows no kind takes that of the session it was born from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.convert.entry import Entry, Identity
from pipeline.convert.mints import Birth
from pipeline.convert.text import name

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
    who = evidence.identity
    passing = who.type == "AssumedRole" and kind != "human" and instance(evidence) is None
    return name((who.issuer_arn if passing else None) or who.arn or who.principal, 128)


def _is_service(evidence: Evidence) -> bool:
    who, birth = evidence.identity, evidence.birth
    return (
        instance(evidence) is not None
        or who.on_instance
        or is_service_role(who)
        or (birth is not None and birth.by_service)
    )


def is_service_role(who: Identity) -> bool:
    """Tell whether *who* is a role that an AWS service holds for itself."""
    return SERVICE_ROLE in (who.issuer_arn or "") or (who.key is None and who.invoked_by is not None)


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
