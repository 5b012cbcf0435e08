"""What an answer to a push means, row by row, and how long until another try."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis.strategies import binary, floats, integers, text

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.outcomes import (
    MAX_RETRY_AFTER_S,
    PushResult,
    decide,
    pause_ms,
    retry_after_ms,
)
from pipeline.transmitter.protocol import QueuedToken
from pipeline.transmitter.push_responses import (
    CODES,
    FAILURES,
    FINAL_ERRORS,
    MAX_TEXT_LENGTH,
    REDIRECT,
    STATUSES,
    ResponseRule,
    of_failure,
    of_status,
)
from tests.support.stores import NOW

VERDICTS = {
    "invalid_request": "dead_letter",
    "invalid_key": "retry_once",
    "invalid_issuer": "dead_letter",
    "invalid_audience": "dead_letter",
    "authentication_failed": "retry",
    "access_denied": "retry",
    "invalid_state": "dead_letter",
}


def test_every_code_of_rfc_8935_and_ssf_has_its_row() -> None:
    assert {code: row.verdict for code, row in CODES.items()} == VERDICTS


@pytest.mark.parametrize(("code", "verdict"), VERDICTS.items())
def test_a_code_means_what_its_row_says(code: str, verdict: str) -> None:
    answer = of_status(400, json.dumps({"err": code, "description": "so"}).encode())

    assert (answer.verdict, answer.error) == (verdict, code)
    assert answer.text.endswith(": so")


@pytest.mark.parametrize(
    ("status", "verdict", "error"),
    [
        (200, "delivered", ""),
        (202, "delivered", ""),
        (204, "delivered", ""),
        (301, "retry", "redirect"),
        (308, "retry", "redirect"),
        (401, "retry", "http_401"),
        (403, "retry", "http_403"),
        (404, "retry", "http_404"),
        (405, "dead_letter", "http_405"),
        (408, "retry", "http_408"),
        (410, "dead_letter", "http_410"),
        (413, "dead_letter", "http_413"),
        (415, "dead_letter", "http_415"),
        (429, "retry", "http_429"),
        (500, "retry", "http_500"),
        (503, "retry", "http_503"),
        (599, "retry", "http_599"),
    ],
)
def test_a_status_means_what_its_row_says(status: int, verdict: str, error: str) -> None:
    answer = of_status(status, b"")

    assert (answer.verdict, answer.error) == (verdict, error)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"err": 7}', b"\xff", b"[" * 10_000, b'{"err": null}']
)
def test_a_400_without_a_code_is_tried_again(body: bytes) -> None:
    assert (of_status(400, body).verdict, of_status(400, body).error) == ("retry", "http_400")


def test_a_code_that_nobody_defined_is_tried_again_and_told() -> None:
    answer = of_status(400, b'{"err": "tea_pot", "description": "short and stout"}')

    assert (answer.verdict, answer.error) == ("retry", "unknown_code")
    assert answer.text == "error code 'tea_pot': short and stout"


def test_a_receivers_words_are_kept_short_and_plain() -> None:
    sent_text = json.dumps({"err": "access_denied", "description": "a\x1b[2J\u202e\ud800\x00b" + "c" * 9999})

    text = of_status(400, sent_text.encode()).text

    assert len(text) == MAX_TEXT_LENGTH
    assert text.isprintable()


@pytest.mark.parametrize("error", FAILURES)
def test_where_no_answer_came_it_is_tried_again(error: str) -> None:
    answer, row = of_failure(error, "why"), FAILURES[error]

    assert (answer.verdict, answer.counts, answer.text) == ("retry", row.counts, f"{row.why}: why")


@given(binary())
def test_no_answer_is_too_odd_to_mean_something(body: bytes) -> None:
    assert of_status(400, body).verdict in {"retry", "retry_once", "dead_letter"}


@given(integers(1, 200), integers(0))
def test_a_pause_is_anything_up_to_twice_as_much_each_time_and_no_more_than_the_cap(attempt: int, seed: int) -> None:
    assert 0 <= pause_ms(attempt, 1.0, 300.0, _rng(seed)) <= 1000 * min(300.0, 2.0 ** min(attempt - 1, 60))


def test_pauses_use_all_of_their_room() -> None:
    rng = _rng(7)

    drawn = sorted(pause_ms(4, 1.0, 300.0, rng) for _ in range(1000))

    assert drawn[0] < 200
    assert drawn[-1] > 7800
    assert 3500 < sum(drawn) / 1000 < 4500


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("0", 0),
        (" 7 ", 7000),
        ("86400", 3_600_000),
        ("9" * 400, 3_600_000),
        ("Tue, 24 Nov 2026 06:29:50 GMT", 30_000),
        ("Tue, 24 Nov 2026 06:29:50 -0000", 30_000),
        ("Tue, 24 Nov 2026 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600_000),
        ("Wed, 21 Oct 2015 07:28:00 +9999999999999", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date_and_bounded(value: str | None, ms: int | None) -> None:
    assert retry_after_ms(value, NOW) == ms


@given(text())
def test_no_retry_after_is_too_odd_to_be_read(value: str) -> None:
    asked = retry_after_ms(value, NOW)

    assert asked is None or 0 <= asked <= MAX_RETRY_AFTER_S * 1000


def _rng(seed: float) -> Random:
    return Random(seed)  # noqa: S311 - jitter is no secret


SETTINGS = TransmitterSettings(push_attempts=3, push_backoff_s=1, push_backoff_max_s=300)


def _token(attempts: int, error: str | None = None) -> QueuedToken:
    return QueuedToken(1, "s-1", "j-1", "a", "session-revoked", "h.p.s", attempts, NOW, NOW, None, error)


@pytest.mark.parametrize(
    ("attempts", "status", "code", "before", "state"),
    [
        (0, 202, "", None, "delivered"),
        (2, 202, "", None, "delivered"),
        (0, 500, "", None, "retry"),
        (1, 500, "", None, "retry"),
        (2, 500, "", None, "dead"),
        (0, 400, "invalid_request", None, "dead"),
        (0, 400, "invalid_key", None, "retry"),
        (1, 400, "invalid_key", "invalid_key", "dead"),
        (1, 400, "invalid_key", "http_500", "retry"),
        (2, 400, "invalid_key", "http_500", "dead"),
        (1, 500, "", "invalid_key", "retry"),
        (1, 400, "access_denied", "access_denied", "retry"),
    ],
)
def test_what_becomes_of_a_token_follows_from_the_answer_and_its_tries(
    attempts: int, status: int, code: str, before: str | None, state: str
) -> None:
    answer = of_status(status, json.dumps({"err": code}).encode())

    result = decide(_token(attempts, before), answer, SETTINGS, NOW, _rng(1))

    assert (result.state, result.error) == (state, answer.error)


def test_a_key_that_was_refused_gets_its_second_try_when_caches_have_ended() -> None:
    answer = of_status(400, b'{"err": "invalid_key"}')

    result = decide(_token(0), answer, SETTINGS, NOW, _rng(1))

    assert result == PushResult(_token(0), "retry", "invalid_key", answer.text, NOW + 300_000)


@given(floats(0, 1), integers(0, 10_000))
def test_a_receiver_that_says_when_is_not_asked_before(seed: float, asked: int) -> None:
    answer = of_status(503, b"", asked)

    assert decide(_token(0), answer, SETTINGS, NOW, _rng(seed)).due_at >= NOW + asked


# --- The table of the README ---

PAGE = Path(__file__).parent.parent.parent / "pipeline" / "transmitter" / "README.md"
REST = ResponseRule("retry", "always", "")
SAID = {
    "no response in time": "timeout",
    "no connection": "unreachable",
    "wrong certificate": "tls",
    "a connection that breaks": "cut",
    "an answer that is no HTTP": "bad_answer",
    "an address that is not permitted": "address_refused",
}
COUNTS = {"always": "always", "unless the receiver is down": "unless_down", "never": "never"}
"""The words of the table, and what they stand for."""


def _named(cell: str) -> dict[str, ResponseRule]:
    """The rows of `answers` that a cell of the first column names, by the name that its word has here."""
    rows = {code: CODES.get(code, REST) for code in re.findall(r"`([a-z_]+)`", cell)}
    rows |= {status: STATUSES.get(int(status), REST) for status in re.findall(r"\b\d{3}\b", cell) if status != "400"}
    rows |= {name: FAILURES[name] for sent_text, name in SAID.items() if sent_text in cell}
    return rows | ({"redirect": REDIRECT} if "a redirect" in cell else {})


def _verdict(done: str, end: str) -> str:
    once = "retry_once" if "once more" in done else "retry"
    return "dead_letter" if end == "dead letter at once" else once


def test_the_table_of_the_readme_is_that_of_the_answers() -> None:
    text = PAGE.read_text("utf-8").split("## What an answer to a push leads to")[1].split("\n\n")[1]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]

    assert cells[0] == ["202, or any other 2xx", "delivered", "–", "delivered"]
    by_key = {
        name: (row, (_verdict(done, end), COUNTS[counts]))
        for cell, done, counts, end in cells[1:]
        for name, row in _named(cell).items()
    }
    assert {name: (row.verdict, row.counts) for name, (row, _) in by_key.items()} == {
        name: pair for name, (_, pair) in by_key.items()
    }
    assert set(by_key) == {*CODES, *map(str, STATUSES), *FAILURES, "redirect"}


def test_what_is_a_dead_letter_at_once_is_hopeless_and_nothing_else() -> None:
    assert {
        *("invalid_request", "invalid_issuer", "invalid_audience", "invalid_state"),
        *("http_405", "http_410", "http_413", "http_415"),
    } == FINAL_ERRORS
