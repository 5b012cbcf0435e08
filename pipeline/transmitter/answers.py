"""What the answer to a push means for the token: one row for each, and why.

RFC 8935 §2.2 (success), §2.3 and §2.4 (errors), §4 (what is worth another try).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Literal

Verdict = Literal["delivered", "retry", "once", "bury"]
"""The receiver has it; another try while there are any left; one more try; it is a dead letter."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one push. *error* is its name in metrics; *retry_after_ms* was asked for."""

    verdict: Verdict
    error: str = ""
    text: str = ""
    retry_after_ms: int | None = None


DELIVERED: Final = Answer("delivered")

CODES: Final[dict[str, tuple[Verdict, str]]] = {
    "invalid_request": ("bury", "the receiver cannot read it, and will not another time (RFC 8935 §4)"),
    "invalid_key": ("once", "the receiver may still hold keys of before a rotation"),
    "invalid_issuer": ("bury", "the receiver does not accept this issuer: its settings or ours are wrong"),
    "invalid_audience": ("bury", "it is not addressed to this receiver: the stream's audience is wrong"),
    "authentication_failed": ("retry", "the credentials of the stream may be renewed meanwhile"),
    "access_denied": ("retry", "it may be transient (RFC 8935 §4)"),
    "invalid_state": ("bury", "the receiver did not ask for this verification (SSF 1.0 §8.1.4.1)"),
}
"""By the `err` of an answer 400. A code that is not here is tried again while there are tries left."""

STATUSES: Final[dict[int, tuple[Verdict, str]]] = {
    405: ("bury", "there is nothing at that address that takes a push"),
    410: ("bury", "the address is given up for good (RFC 9110 §15.5.11)"),
    413: ("bury", "it will not be shorter another time"),
    415: ("bury", "the receiver takes no security event tokens"),
}
"""By status, where another try can come to nothing. All others are tried again while there are tries left."""

FAILURES: Final[dict[str, str]] = {
    "timeout": "no answer in time",
    "unreachable": "no connection",
    "address_refused": "its address may not be connected to",
    "tls": "the TLS handshake failed",
    "cut": "the connection broke before the answer",
    "bad_answer": "the answer is not HTTP, or too long",
}
"""Where no answer came. Each is tried again: names and certificates are mended, networks come back."""

LONGEST_TEXT: Final = 512
"""Characters of a receiver's own words that are kept."""


def of_status(status: int, body: bytes, retry_after_ms: int | None = None) -> Answer:
    """Return what *status* and the *body* of an answer mean. Any 2xx is success; RFC 8935 asks for 202."""
    if 200 <= status < 300:
        return DELIVERED
    if status == 400:
        return _of_error(body, retry_after_ms)
    if 300 <= status < 400:
        return Answer("retry", "redirect", f"answered {status}; redirects are not followed", retry_after_ms)
    verdict, why = STATUSES.get(status, ("retry", ""))
    return Answer(verdict, f"http_{status}", _joined(f"answered {status}", why), retry_after_ms)


def of_failure(error: str, detail: str = "") -> Answer:
    """Return what the failure named *error*, a key of `FAILURES`, means."""
    return Answer("retry", error, _joined(FAILURES[error], detail))


def _of_error(body: bytes, retry_after_ms: int | None) -> Answer:
    """Read the JSON of RFC 8935 §2.3; what is no such JSON is a 400 like that of any server on the way."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("err"), str):
        return Answer("retry", "http_400", "answered 400 without an error code", retry_after_ms)
    code, description = said["err"], said.get("description")
    words = description if isinstance(description, str) else ""
    if code in CODES:
        verdict, why = CODES[code]
        return Answer(verdict, code, _joined(why, words), retry_after_ms)
    return Answer("retry", "unknown_code", _joined(f"error code {code[:64]!r}", words), retry_after_ms)


def _joined(ours: str, theirs: str) -> str:
    """Join our words and theirs; theirs without control characters: they end in logs and on terminals."""
    clean = "".join(one if one.isprintable() else " " for one in theirs)
    return f"{ours}: {clean}"[:LONGEST_TEXT] if clean and ours else (ours or clean)[:LONGEST_TEXT]
