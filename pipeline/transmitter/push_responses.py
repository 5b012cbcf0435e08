"""What the answer to a push means for the token: one row for each, and why.

RFC 8935 §2.2 (success), §2.3 and §2.4 (errors), §4 (what is worth another try).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Verdict = Literal["delivered", "retry", "retry_once", "dead_letter"]
"""The receiver has it; another try while there are any left; one more try; it is a dead letter."""

Counts = Literal["always", "unless_down", "never"]
"""Whether a failure is one of the token's tries (`push_attempts`).

It speaks of the token; it speaks of the receiver, unless that takes others meanwhile; it says nothing of it.
"""


class ResponseRule(NamedTuple):
    """What a failure means, and why."""

    verdict: Verdict
    counts: Counts
    why: str


@dataclass(frozen=True, slots=True)
class PushResponse:
    """What came of one push. *error* is its name in metrics; *retry_after_ms* was asked for."""

    verdict: Verdict
    error: str = ""
    text: str = ""
    retry_after_ms: int | None = None
    counts: Counts = "always"


DELIVERED: Final = PushResponse("delivered")

CODES: Final[dict[str, ResponseRule]] = {
    "invalid_request": ResponseRule(
        "dead_letter", "always", "the receiver cannot read it, and will not another time (RFC 8935 §4)"
    ),
    "invalid_key": ResponseRule("retry_once", "always", "the receiver may still hold keys of before a rotation"),
    "invalid_issuer": ResponseRule(
        "dead_letter", "always", "the receiver does not accept this issuer: its settings or ours are wrong"
    ),
    "invalid_audience": ResponseRule(
        "dead_letter", "always", "it is not addressed to this receiver: the stream's audience is wrong"
    ),
    "authentication_failed": ResponseRule("retry", "always", "the credentials of the stream may be renewed meanwhile"),
    "access_denied": ResponseRule("retry", "always", "it may be transient (RFC 8935 §4)"),
    "invalid_state": ResponseRule(
        "dead_letter", "always", "the receiver did not ask for this verification (SSF 1.0 §8.1.4.1)"
    ),
}
"""By the `err` of an answer 400. A code that is not here is tried again while there are tries left."""

_AWAY: Final = "what stands before the receiver does not reach it"

STATUSES: Final[dict[int, ResponseRule]] = {
    401: ResponseRule("retry", "unless_down", "the credentials of the stream may be renewed meanwhile"),
    403: ResponseRule("retry", "unless_down", "this transmitter may be let in again"),
    404: ResponseRule("retry", "unless_down", "the receiver may be at its address again"),
    405: ResponseRule("dead_letter", "always", "there is nothing at that address that takes a push"),
    407: ResponseRule("retry", "unless_down", "a proxy before the receiver asks for credentials"),
    408: ResponseRule("retry", "unless_down", "the receiver did not get to read it in time"),
    410: ResponseRule("dead_letter", "always", "the address is given up for good (RFC 9110 §15.5.11)"),
    413: ResponseRule("dead_letter", "always", "it will not be shorter another time"),
    415: ResponseRule("dead_letter", "always", "the receiver takes no security event tokens"),
    429: ResponseRule("retry", "never", "the receiver asks for a pause, whatever is sent (RFC 6585 §4)"),
    502: ResponseRule("retry", "unless_down", _AWAY),
    503: ResponseRule("retry", "unless_down", "the receiver is overloaded or away (RFC 9110 §15.6.4)"),
    504: ResponseRule("retry", "unless_down", _AWAY),
    520: ResponseRule("retry", "unless_down", _AWAY),
    521: ResponseRule("retry", "unless_down", _AWAY),
    522: ResponseRule("retry", "unless_down", _AWAY),
    523: ResponseRule("retry", "unless_down", _AWAY),
    524: ResponseRule("retry", "unless_down", _AWAY),
}
"""By status; 520 to 524 are those of networks that stand before receivers. All others are tried again while
there are tries left."""

REDIRECT: Final = ResponseRule("retry", "unless_down", "redirects are not followed")
"""Of any 3xx: the receiver has moved, or wants a login."""

FAILURES: Final[dict[str, ResponseRule]] = {
    "timeout": ResponseRule("retry", "unless_down", "no answer in time"),
    "unreachable": ResponseRule("retry", "unless_down", "no connection"),
    "address_refused": ResponseRule("retry", "always", "its address may not be connected to"),
    "tls": ResponseRule("retry", "unless_down", "the TLS handshake failed"),
    "cut": ResponseRule("retry", "unless_down", "the connection broke before the answer"),
    "bad_answer": ResponseRule("retry", "unless_down", "the answer is not HTTP, or too long"),
}
"""Where no answer came. Each is tried again: names and certificates are mended, networks come back. That an
address is refused is our own rule, and nothing to wait for."""

FINAL_ERRORS: Final = frozenset(
    {name for name, row in CODES.items() if row.verdict == "dead_letter"}
    | {f"http_{status}" for status, row in STATUSES.items() if row.verdict == "dead_letter"}
)
"""Errors with which the same token would fail again."""

LONGEST_TEXT: Final = 512
"""Characters of a receiver's own words that are kept."""


def of_status(status: int, body: bytes, retry_after_ms: int | None = None) -> PushResponse:
    """Return what *status* and the *body* of an answer mean. Any 2xx is success; RFC 8935 asks for 202."""
    if 200 <= status < 300:
        return DELIVERED
    if status == 400:
        return _of_error(body, retry_after_ms)
    if 300 <= status < 400:
        text = f"answered {status}; {REDIRECT.why}"
        return PushResponse(REDIRECT.verdict, "redirect", text, retry_after_ms, REDIRECT.counts)
    verdict, counts, why = STATUSES.get(status, ResponseRule("retry", "always", ""))
    return PushResponse(verdict, f"http_{status}", _joined(f"answered {status}", why), retry_after_ms, counts)


def of_failure(error: str, detail: str = "") -> PushResponse:
    """Return what the failure named *error*, a key of `FAILURES`, means."""
    verdict, counts, why = FAILURES[error]
    return PushResponse(verdict, error, _joined(why, detail), counts=counts)


def _of_error(body: bytes, retry_after_ms: int | None) -> PushResponse:
    """Read the JSON of RFC 8935 §2.3; what is no such JSON is a 400 like that of any server on the way."""
    try:
        messages = json.loads(body)
    except (ValueError, RecursionError):
        messages = None
    if not isinstance(messages, dict) or not isinstance(messages.get("err"), str):
        return PushResponse("retry", "http_400", "answered 400 without an error code", retry_after_ms)
    code, description = messages["err"], messages.get("description")
    words = description if isinstance(description, str) else ""
    if code in CODES:
        verdict, counts, why = CODES[code]
        return PushResponse(verdict, code, _joined(why, words), retry_after_ms, counts)
    return PushResponse("retry", "unknown_code", _joined(f"error code {code[:64]!r}", words), retry_after_ms)


def _joined(ours: str, theirs: str) -> str:
    """Join our words and theirs; theirs without control characters: they end in logs and on terminals."""
    clean = "".join(their if their.isprintable() else " " for their in theirs)
    return f"{ours}: {clean}"[:LONGEST_TEXT] if clean and ours else (ours or clean)[:LONGEST_TEXT]
