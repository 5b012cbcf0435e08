"""Parser of one CloudTrail record: the typed and bounded `Entry` that all other modules work with.

Other modules need no further checks of an `Entry`; only *request*, *response* and *extra* stay as they were logged.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final


def bounded(value: Any, limit: int) -> str | None:
    """Return *value* cut to *limit* characters, or None if it is not text or is empty."""
    if not isinstance(value, str) or not value:
        return None
    # JSON may carry lone surrogates, which no UTF-8 wire can.
    return value[:limit].encode("utf-8", "replace").decode("utf-8")


def name(value: Any, limit: int) -> str | None:
    """Return *value* as an id of at most *limit* characters; a longer one ends in a hash, to stay distinct."""
    if not isinstance(value, str) or len(value) <= limit:
        return bounded(value, limit)
    return f"{bounded(value, limit - 17)}~{digest(value)[:16]}"


def digest(value: str) -> str:
    """Return the first 32 hex digits of the SHA-256 of *value*."""
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:32]


MAX_EVENT_ID: Final = 48  # an event derived from the record appends a suffix to its event_id
AWS_SOFTWARE: Final = ("AWS Internal", "aws-internal/")
API_VERSION: Final = re.compile(r"(?<=[a-z])\d{4}_?\d\d_?\d\d(v\d+)?$")
PRIVATE: Final = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
DOTTED: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")


class MalformedRecordError(ValueError):
    """A record lacks a field that an event needs; the message says which."""


@dataclass(frozen=True, slots=True)
class Identity:
    """`userIdentity`: whose credentials signed the call, and when they were issued (*created*, as logged)."""

    type: str | None
    arn: str | None = None
    account: str | None = None
    key: str | None = None
    user: str | None = None
    principal: str | None = None
    issuer_arn: str | None = None
    created: str | None = None
    mfa: bool = False
    on_instance: bool = False
    invoked_by: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One record; *ip* and *user_agent* are None if the log names an AWS service there instead of the client."""

    event_id: str
    at_ms: int
    operation: str
    tenant: str
    caller: Identity
    request: Mapping[str, Any]
    response: Mapping[str, Any]
    extra: Mapping[str, Any]
    touched: str | None
    error_code: str | None
    error_message: str | None
    read_only: bool | None
    from_console: bool
    ip: str | None
    user_agent: str | None
    time: str
    technique: str | None


def parse(record: Any, technique: str | None) -> Entry:
    """Parse one raw *record*, from a recording of *technique* if that is known.

    Raises:
        MalformedRecordError: a required field is missing or malformed.
    """
    raw = _mapping(record)
    caller = _identity(_mapping(raw.get("userIdentity")))
    time = _required(raw, "eventTime", 40)
    account = bounded(raw.get("recipientAccountId"), 60) or caller.account or "unknown"
    from_console = _truth(raw.get("sessionCredentialFromConsole")) is True
    service = _required(raw, "eventSource", 128).removesuffix(".amazonaws.com")
    return Entry(
        event_id=_event_id(raw),
        at_ms=_milliseconds(time),
        operation=name(f"{service}:{_action(raw)}", 256) or service,
        tenant=f"aws-{account}",
        caller=caller,
        request=_mapping(raw.get("requestParameters")),
        response=_mapping(raw.get("responseElements")),
        extra=_mapping(raw.get("additionalEventData")),
        touched=_first_arn(raw.get("resources")),
        error_code=bounded(raw.get("errorCode"), 256),
        error_message=bounded(raw.get("errorMessage"), 256),
        read_only=_truth(raw.get("readOnly")),
        from_console=from_console,
        ip=client_ip(raw.get("sourceIPAddress"), aws_own=_is_aws(raw.get("userAgent")) and not from_console),
        user_agent=client_software(raw.get("userAgent")),
        time=time,
        technique=technique,
    )


def client_ip(value: Any, *, aws_own: bool = False) -> str | None:
    """Return the address of the client; None for a service's host name.

    *aws_own*: AWS's own software made the call, and not a console that passes on a browser's address. The address may
    then be that of a host of AWS, which is private.

    Anonymised logs have octets with leading zeros: read as decimal, different addresses stay different.
    """
    if not isinstance(value, str) or "%" in value:
        return None
    if DOTTED.fullmatch(value):
        value = ".".join(str(int(octet)) for octet in value.split("."))
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    return None if aws_own and any(address in network for network in PRIVATE) else str(address)


def client_software(value: Any) -> str | None:
    """Return the user agent, None for AWS's own software, which says nothing about the client.

    Some services, such as S3, log the user agent in square brackets.
    """
    agent = bounded(value, 512)
    if agent is not None and agent.startswith("[") and agent.endswith("]"):
        agent = bounded(agent[1:-1], 512)
    return None if _is_aws(agent) else agent


def _is_aws(software: Any) -> bool:
    """Whether AWS's own software made the call."""
    agent = bounded(software, 512) or ""
    return agent.endswith(".amazonaws.com") or any(word in agent for word in AWS_SOFTWARE)


def _identity(raw: Mapping[str, Any]) -> Identity:
    context = _mapping(raw.get("sessionContext"))
    attributes = _mapping(context.get("attributes"))
    return Identity(
        type=bounded(raw.get("type"), 64),
        arn=bounded(raw.get("arn"), 2048),
        account=bounded(raw.get("accountId"), 60),
        key=name(raw.get("accessKeyId"), 128),
        user=bounded(raw.get("userName"), 128),
        principal=bounded(raw.get("principalId"), 256),
        issuer_arn=bounded(_mapping(context.get("sessionIssuer")).get("arn"), 2048),
        created=bounded(attributes.get("creationDate"), 40),
        mfa=_truth(attributes.get("mfaAuthenticated")) is True,
        on_instance="ec2RoleDelivery" in context,
        invoked_by=bounded(raw.get("invokedBy"), 256),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _required(raw: Mapping[str, Any], field: str, limit: int) -> str:
    value = bounded(raw.get(field), limit)
    if value is None:
        raise MalformedRecordError(f"{field} is missing or is not text")
    return value


def _action(raw: Mapping[str, Any]) -> str:
    """The operation; without the API version that Lambda and CloudFront append to its name."""
    return API_VERSION.sub("", _required(raw, "eventName", 128))


def _event_id(raw: Mapping[str, Any]) -> str:
    _required(raw, "eventID", MAX_EVENT_ID)
    return name(raw["eventID"], MAX_EVENT_ID) or ""


def _milliseconds(time: str) -> int:
    try:
        moment = datetime.fromisoformat(time)
    except ValueError as error:
        raise MalformedRecordError(f"eventTime {time!r} is not an ISO 8601 time") from error
    if moment.tzinfo is None or moment.year < 1971:
        raise MalformedRecordError(f"eventTime {time!r} has no time zone or is before AWS")
    return round(moment.timestamp() * 1000)


def _truth(value: Any) -> bool | None:
    """Parse a boolean, which some exports write as text."""
    return {"true": True, "false": False}.get(str(value).lower())


def _first_arn(resources: Any) -> str | None:
    listed = resources if isinstance(resources, list) else []
    arns = (_mapping(resource).get("ARN") for resource in listed)
    return next((arn for arn in arns if isinstance(arn, str) and arn), None)
