"""A transmitter on Apache Kafka: what is decided arrives, however often it is killed, under one `jti`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from schemas.topics import AUTH_EVENTS, REVOCATION_ACKS, SESSION_FEEDBACK, SESSION_REVOCATIONS
from tests.support.model_workers import Fleet
from tests.support.samples import T0, auth, feedback
from tests.support.ssf_endpoint import Endpoint, listening
from tests.support.ssf_receiver import CAEP, PUSH, Set
from tests.support.ssf_records import Record, now_ms, revocation
from tests.support.transmitters import OnKafka, claims, handed_out
from tests.support.waiting import until

pytestmark = pytest.mark.kafka

KILLED = 8
AT_ONCE = 60
"""Revocations that are written between two deaths."""


@contextmanager
def working(*transmitters: OnKafka) -> Iterator[None]:
    """They run meanwhile, and stop in order."""
    try:
        for transmitter in transmitters:
            transmitter.begin()
        yield
    except BaseException:
        for transmitter in transmitters:
            transmitter.kill()
        raise
    for transmitter in transmitters:
        transmitter.stop()


def arrived(endpoint: Endpoint, name: str) -> dict[str, set[str]]:
    """The `jti`s that were pushed, by the decision they tell of; of decisions whose ids begin with *name*."""
    found: dict[str, set[str]] = {}
    for pushed in list(endpoint.pushed):
        fields = claims(pushed.text)
        if str(fields["txn"]).startswith(name):
            found.setdefault(fields["txn"], set()).add(fields["jti"])
    return found


def fallen(name: str, numbers: range) -> list[Record]:
    """Commands to end sessions of people whose ids begin with *name*."""
    return [
        revocation(
            decision_id=f"{name}-{number}",
            session_id=f"s-{name}-{number}",
            principal_id=f"{name}-{number % 7}",
            deadline=now_ms() + 3_600_000,
        )
        for number in numbers
    ]


def test_a_session_that_falls_is_told_by_push_and_by_poll_and_its_end_is_confirmed(tmp_path: Path) -> None:
    session, person = f"s-{uuid4().hex}", f"person-{uuid4().hex}"
    at = (time.time() * 1000 - T0) / 1000
    subject = {"session_id": session, "principal_id": person}
    fleet = Fleet(tmp_path / "fleet", 'mode = "enforce"')
    on_kafka = OnKafka(tmp_path / "transmitter")
    try:
        with working(on_kafka), listening() as endpoint:
            receiver = on_kafka.receiver("gateway")
            receiver.create(delivery={"method": PUSH, "endpoint_url": endpoint.url})
            polled = receiver.create()
            fleet.begin()
            fleet.play(
                [(AUTH_EVENTS, auth(at, **subject))],
                [(SESSION_FEEDBACK, feedback(at, session_id=session, verdict="confirmed_compromised"))],
            )
            (command,) = on_kafka.output(SESSION_REVOCATIONS, session)
            decision = command["decision_id"]
            pushed = until("two tokens", lambda: _of(decision, endpoint), lambda seen: len(seen) == 2)
            by_poll = list(map(receiver.verified, handed_out(receiver, polled, decision, 2)))
            tokens = [receiver.verified(token) for token in pushed]
            taken = receiver.ask(
                "POST",
                f"{on_kafka.issuer}/acks",
                {"jti": _revoked(tokens).claims["jti"], "outcome": "revoked"},
            )
            state = until(
                "the confirmation",
                lambda: on_kafka.revocations()[command["revocation_id"]],
                lambda seen: seen["outcome"],
            )
            (ack,) = on_kafka.output(REVOCATION_ACKS, session)
        assert set(fleet.end()) == {0}
    finally:
        fleet.kill()

    kinds = {f"{CAEP}session-revoked", f"{CAEP}risk-level-change"}
    assert {token.event for token in tokens} == {token.event for token in by_poll} == kinds
    assert _revoked(tokens).claims["sub_id"] == {"format": "iss_sub", "iss": on_kafka.idp, "sub": person}
    assert taken.status == 202
    assert (state["state"], state["enforcer"], state["sends"]) == ("confirmed", "gateway", 1)
    assert (ack["revocation_id"], ack["outcome"]) == (command["revocation_id"], "revoked")


def _of(decision: str, endpoint: Endpoint) -> list[str]:
    return [pushed.text for pushed in list(endpoint.pushed) if claims(pushed.text)["txn"] == decision]


def _revoked(tokens: list[Set]) -> Set:
    (found,) = [token for token in tokens if token.event == f"{CAEP}session-revoked"]
    return found


def test_nothing_is_lost_or_doubled_while_it_is_killed(tmp_path: Path) -> None:
    name = f"d-{uuid4().hex[:8]}"
    on_kafka = OnKafka(tmp_path)
    with working(on_kafka), listening() as endpoint:
        receiver = on_kafka.receiver("killed")
        receiver.create(delivery={"method": PUSH, "endpoint_url": endpoint.url})
        polled = receiver.create()
        for number in range(KILLED):
            on_kafka.write(fallen(name, range(number * AT_ONCE, (number + 1) * AT_ONCE)))
            endpoint.wait(len(endpoint.pushed) + 3)
            on_kafka.kill()
            on_kafka.start()
        expected = {f"{name}-{number}" for number in range(KILLED * AT_ONCE)}
        pushed = until("everything", lambda: arrived(endpoint, name), lambda seen: set(seen) == expected)
        by_poll = [claims(text)["txn"] for text in handed_out(receiver, polled, name, len(expected))]
        details = until(
            "deliveries in the store",
            lambda: [row["state"] for key, row in on_kafka.revocations().items() if key.startswith(f"r-{name}")],
            lambda seen: set(seen) == {"delivered"},
        )

    assert {decision: len(jtis) for decision, jtis in pushed.items()} == dict.fromkeys(expected, 1)
    assert sorted(by_poll) == sorted(expected)
    assert len(details) == len(expected)
    assert on_kafka.dead_letters() == []


def test_when_the_one_that_works_dies_the_one_that_stands_by_goes_on(tmp_path: Path) -> None:
    name, group = f"d-{uuid4().hex[:8]}", f"transmitter-{uuid4().hex[:8]}"
    store = f"sqlite:///{tmp_path}/store.db"
    first = OnKafka(tmp_path / "first", group, database=store)
    second = OnKafka(tmp_path / "second", group, database=store, issuer=first.issuer)
    with working(first, second), listening() as endpoint:
        first.receiver("pair").create(delivery={"method": PUSH, "endpoint_url": endpoint.url})
        assert (first.leads(), second.leads()) == (True, False)
        first.write(fallen(name, range(AT_ONCE)))
        until("some of it to be pushed", lambda: len(endpoint.pushed), lambda seen: seen > 3)
        first.kill()
        died = time.monotonic()
        until("the other to work", second.leads, bool)
        took = time.monotonic() - died
        second.write(fallen(name, range(AT_ONCE, 2 * AT_ONCE)))
        expected = {f"{name}-{number}" for number in range(2 * AT_ONCE)}
        pushed = until("everything", lambda: arrived(endpoint, name), lambda seen: set(seen) == expected)

    assert {decision: len(jtis) for decision, jtis in pushed.items()} == dict.fromkeys(expected, 1)
    assert took < 10


def test_where_topics_are_missing_it_says_so_and_ends(tmp_path: Path) -> None:
    on_kafka = OnKafka(tmp_path)
    until("topics", on_kafka._lacking, lambda lacking: lacking == "")

    done = on_kafka.command(SESSION_RISK_PARTITIONS="3")

    assert done.returncode == 3
    assert "these topics have another number of partitions" in done.stderr
