"""What each response to a push means for the token, one row per response with the reason.

RFC 8935 §2.2 (success), §2.3 and §2.4 (errors), §4 (which errors are worth a retry).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Verdict = Literal["delivered", "retry", "retry_once", "dead_letter"]
"""The receiver has the token; retry while attempts are left; retry once; make it a dead letter."""

CountsAsAttempt = Literal["always", "unless_down", "never"]
"""Whether a failure counts as one of the token's attempts (`push_attempts`).

`always`: the failure is about the token. `unless_down`: it is about the receiver, unless the receiver accepts other
tokens meanwhile. `never`: it says nothing about the token.
"""


class ResponseRule(NamedTuple):
    """What a failure means, and why."""

    verdict: Verdict
    counts: CountsAsAttempt
    why: str


@dataclass(frozen=True, slots=True)
class PushResponse:
    """The result of one push. *error* is its name in metrics; *retry_after_ms* is the receiver's `Retry-After`."""

    verdict: Verdict
    error: str = ""
    text: str = ""
    retry_after_ms: int | None = None
    counts: CountsAsAttempt = "always"


DELIVERED: Final = PushResponse("delivered")

CODES: Final[dict[str, ResponseRule]] = {
    "invalid_request": ResponseRule(
        "dead_letter", "always", "the receiver cannot parse the token and never will (RFC 8935 §4)"
    ),
    "invalid_key": ResponseRule("retry_once", "always", "the receiver may still use the keys from before a rotation"),
    "invalid_issuer": ResponseRule(
        "dead_letter", "always", "the receiver does not accept this issuer: its settings or ours are wrong"
    ),
    "invalid_audience": ResponseRule(
        "dead_letter", "always", "the token is not for this receiver: the stream's audience is wrong"
    ),
    "authentication_failed": ResponseRule("retry", "always", "the credentials of the stream may be renewed"),
    "access_denied": ResponseRule("retry", "always", "it may be transient (RFC 8935 §4)"),
    "invalid_state": ResponseRule(
        "dead_letter", "always", "the receiver did not ask for this verification (SSF 1.0 §8.1.4.1)"
    ),
}
"""By the `err` of a 400 response. An unknown code is retried while attempts are left."""

_UNREACHED: Final = "a proxy in front of the receiver does not reach it"

STATUSES: Final[dict[int, ResponseRule]] = {
    401: ResponseRule("retry", "unless_down", "the credentials of the stream may be renewed"),
    403: ResponseRule("retry", "unless_down", "this transmitter may be permitted again"),
    404: ResponseRule("retry", "unless_down", "the receiver may be at its address again"),
    405: ResponseRule("dead_letter", "always", "the address accepts no pushes"),
    407: ResponseRule("retry", "unless_down", "a proxy in front of the receiver asks for credentials"),
    408: ResponseRule("retry", "unless_down", "the receiver did not read the request in time"),
    410: ResponseRule("dead_letter", "always", "the address is permanently gone (RFC 9110 §15.5.11)"),
    413: ResponseRule("dead_letter", "always", "the token will not get shorter"),
    415: ResponseRule("dead_letter", "always", "the receiver accepts no security event tokens"),
    429: ResponseRule("retry", "never", "the receiver asks for a pause of all requests (RFC 6585 §4)"),
    502: ResponseRule("retry", "unless_down", _UNREACHED),
    503: ResponseRule("retry", "unless_down", "the receiver is overloaded or unavailable (RFC 9110 §15.6.4)"),
    504: ResponseRule("retry", "unless_down", _UNREACHED),
    520: ResponseRule("retry", "unless_down", _UNREACHED),
    521: ResponseRule("retry", "unless_down", _UNREACHED),
    522: ResponseRule("retry", "unless_down", _UNREACHED),
    523: ResponseRule("retry", "unless_down", _UNREACHED),
    524: ResponseRule("retry", "unless_down", _UNREACHED),
}
"""By HTTP status; 520 to 524 are those of networks (CDNs) in front of receivers. All others are retried while attempts
are left.
"""

REDIRECT: Final = ResponseRule("retry", "unless_down", "redirects are not followed")
"""Any 3xx: the receiver has moved, or wants a login."""

FAILURES: Final[dict[str, ResponseRule]] = {
    "timeout": ResponseRule("retry", "unless_down", "no response in time"),
    "unreachable": ResponseRule("retry", "unless_down", "no connection"),
    "address_refused": ResponseRule("retry", "always", "connecting to its address is not permitted"),
    "tls": ResponseRule("retry", "unless_down", "the TLS handshake failed"),
    "cut": ResponseRule("retry", "unless_down", "the connection broke before the response"),
    "bad_answer": ResponseRule("retry", "unless_down", "the response is not HTTP, or is too long"),
}
"""Failures without a response. Each is retried: names and certificates get repaired, networks come back. A refused
address is our own rule, so waiting for it does not count as the receiver being down.
"""

FINAL_ERRORS: Final = frozenset(
    {name for name, row in CODES.items() if row.verdict == "dead_letter"}
    | {f"http_{status}" for status, row in STATUSES.items() if row.verdict == "dead_letter"}
)
"""Errors with which the same token would fail again."""

MAX_TEXT_LENGTH: Final = 512
"""Longest part of a receiver's error text that is stored, in characters."""


def of_status(status: int, body: bytes, retry_after_ms: int | None = None) -> PushResponse:
    """Return what *status* and *body* of a response mean. Any 2xx is success; RFC 8935 asks for 202."""
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
    """Read the JSON of RFC 8935 §2.3; any other body is a 400 that some server on the way may have sent."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not isinstance(fields.get("err"), str):
        return PushResponse("retry", "http_400", "answered 400 without an error code", retry_after_ms)
    code, description = fields["err"], fields.get("description")
    text = description if isinstance(description, str) else ""
    if code in CODES:
        verdict, counts, why = CODES[code]
        return PushResponse(verdict, code, _joined(why, text), retry_after_ms, counts)
    return PushResponse("retry", "unknown_code", _joined(f"error code {code[:64]!r}", text), retry_after_ms)


def _joined(ours: str, theirs: str) -> str:
    """Join our text and the receiver's.

    The receiver's text loses its control characters, because it goes to logs and terminals.
    """
    clean = "".join(letter if letter.isprintable() else " " for letter in theirs)
    return f"{ours}: {clean}"[:MAX_TEXT_LENGTH] if clean and ours else (ours or clean)[:MAX_TEXT_LENGTH]
