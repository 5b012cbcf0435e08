"""Receivers that misbehave in every way there is, at random by a seed: pushed to, or polling."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from random import Random
from threading import Event
from typing import Any, Final

from pipeline.transmitter.push_responses import CODES
from tests.support.many_people import numbers_of
from tests.support.push_receiver import ACCEPTED, CUT, GARBAGE, HANG, Reply, error
from tests.support.ssf_http import Answer, Wire
from tests.support.ssf_receiver import CAEP, Receiver
from tests.support.transmitters import claims

DEADLY: Final = {
    *(*CODES, "unknown_code", "redirect", "cut", "bad_answer", "timeout"),
    *(f"http_{status}" for status in (400, 401, 404, 413, 429, 500, 503)),
}
"""Of which tokens may die that are pushed to such a receiver."""

SLOW: Final = (HANG, Reply(429, {"Retry-After": "1"}))
"""Ways that cost time, and are taken seldom."""

REFUSALS: Final = ("invalid_key", "tea_pot")
"""What the one who polls says of tokens that it does not want."""


def faults(elsewhere: str) -> tuple[Reply, ...]:
    """Every other way to misbehave; who is sent away is sent *elsewhere*."""
    return (
        *(error(code) for code in CODES),
        *(error("tea_pot"), Reply(400), Reply(500), Reply(503), Reply(401), Reply(404), Reply(413)),
        *(Reply(307, {"Location": elsewhere}), CUT, GARBAGE, Reply(429, {"Retry-After": "0"})),
    )


class Moods:
    """Answers to pushes: most tokens are taken, others refused in some way, and some always."""

    def __init__(self, rng_for: Random, elsewhere: str) -> None:
        self.faults = faults(elsewhere)
        self._chance = rng_for

    def __call__(self, claims: Mapping[str, Any]) -> Reply:
        person, number = numbers_of(claims["txn"])
        if person % 25 == 3 and number % 3 == 1:
            return Reply(500)
        drawn = self._chance.random()
        if drawn < 0.004:
            return self._chance.choice(SLOW)
        return self._chance.choice(self.faults) if drawn < 0.25 else ACCEPTED


class Vanishing(Wire):
    """Asks, and is gone when the answer comes."""

    def answered(self, connection: HTTPConnection) -> Answer:
        """Nobody hears what is said."""
        time.sleep(0.1)  # who is gone at once has not asked
        raise ConnectionAbortedError("it has not waited for the answer")


class Poller:
    """Polls at *doors*, addresses of transmitters of one stream: acknowledges, forgets, refuses and vanishes.

    *seen* has each token's text by its `jti`, in the order in which they came first; *acked* and *refused*
    what was said of them, whether or not anybody heard it; *confirmed* the revocations whose end was taken.
    """

    def __init__(self, receiver: Receiver, doors: Sequence[tuple[Wire, str, str]], rng_for: Random) -> None:
        self.seen: dict[str, str] = {}
        self.acked: set[str] = set()
        self.refused: dict[str, str] = {}
        self.confirmed: set[str] = set()
        self.did: Counter[str] = Counter()
        self._receiver = receiver
        self._doors = doors
        self._chance = rng_for
        self._says: dict[str, Any] = {}
        self._over = Event()

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Poll while the block lasts, in a thread."""
        with ThreadPoolExecutor(1, "poller") as threads:
            polled = threads.submit(self._run)
            try:
                yield
            finally:
                self._over.set()
            polled.result()

    def _run(self) -> None:
        while not self._over.is_set():
            wire, poll, acks = self._chance.choice(self._doors)
            if self._chance.random() < 0.1:
                wire = Vanishing(wire.trust, wire.patience)
            answer = self._ask(wire, poll, {**self._asked(), **self._says})
            if answer is None:
                self.did["hears nothing"] += 1
                if self._chance.random() < 0.5:
                    self._says = {}
                continue
            assert answer.status == 200, answer
            self._says = self._judged(answer.json["sets"])
            if self._says.get("ack") and self._chance.random() < 0.3:
                self._confirm(wire, acks)

    def _asked(self) -> dict[str, Any]:
        """Sometimes it takes but a few: what is about one person is cut apart."""
        return {"returnImmediately": True, "maxEvents": self._chance.choice((3, 20, 100))}

    def _ask(self, wire: Wire, url: str, body: Mapping[str, Any]) -> Answer | None:
        try:
            return replace(self._receiver, wire=wire).ask("POST", url, body)
        except (OSError, HTTPException):  # it was killed, or has not begun yet
            time.sleep(0.02)
            return None

    def _judged(self, sets: Mapping[str, str]) -> dict[str, Any]:
        """What is said with the next poll of tokens that came with this one."""
        for jti, text in sets.items():
            assert self.seen.setdefault(jti, text) == text
        if not sets:
            time.sleep(0.05)
            return {}
        mood = self._chance.choices(("takes all", "takes half", "forgets"), (8, 1, 1))[0]
        self.did[mood] += 1
        some = list(sets)[: {"takes all": None, "takes half": len(sets) // 2, "forgets": 0}[mood]]
        errors = {jti: self._chance.choice(REFUSALS) for jti in some if self._chance.random() < 0.03}
        ack = [jti for jti in some if jti not in errors]
        self.refused |= errors
        self.acked.update(ack)
        return {
            "ack": [*ack, "nobody"],
            "setErrs": {jti: {"err": code, "description": "told so"} for jti, code in errors.items()},
        }

    def _confirm(self, wire: Wire, url: str) -> None:
        """Say of one session that it was ended."""
        ended = f"{CAEP}session-revoked"
        known = [jti for jti in self._says["ack"] if ended in self._events_of(jti)]
        if known:
            answer = self._ask(wire, url, {"jti": known[0], "outcome": "revoked"})
            assert answer is None or answer.status == 202, answer
            if answer is not None:
                self.confirmed.add(answer.json["revocation_id"])

    def _events_of(self, jti: str) -> Mapping[str, Any]:
        events: Mapping[str, Any] = claims(self.seen[jti])["events"] if jti in self.seen else {}
        return events
