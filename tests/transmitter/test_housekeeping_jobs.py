"""What is done from time to time: what waits is shown, what ended is counted, what is old is forgotten."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import select

from pipeline.transmitter.protocol import POLL
from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.tables import audit, sets, signing_keys
from tests.support.housekeeping import HOUR, new_house, put_numbered
from tests.support.stores import NOW


def test_what_is_polled_and_what_is_given_up_is_counted(tmp_path: Path) -> None:
    house = new_house(tmp_path, method=POLL, endpoint_url=None)
    put_numbered(house, 4)
    with house.store.begin() as conn:
        given, _ = queue.hand_out(conn, "s-1", house.now, 3, 60_000)
        queue.acknowledge(conn, "s-1", [given[0].jti, given[1].jti], house.now + 1000)
        queue.refuse(conn, "s-1", {given[2].jti: ("invalid_key", "no")}, house.now + 1000)
        streams.set_status(conn, "s-1", "disabled", None, house.now + 1000)

    house.look(2000)
    value = house.metrics.registry.get_sample_value
    counted = "session_risk_transmitter_deliveries_total"
    assert value(counted, {"method": "poll", "outcome": "delivered"}) == 0

    for _ in range(2):
        house.look(2000)
        assert value(counted, {"method": "poll", "outcome": "delivered"}) == 2
        assert value(counted, {"method": "poll", "outcome": "dead"}) == 2
        for error in ("invalid_key", "stream_disabled"):
            assert value("session_risk_transmitter_dead_letters_total", {"error": error}) == 1


def test_whatever_word_a_receiver_has_for_an_error_makes_no_metric_of_its_own(tmp_path: Path) -> None:
    house = new_house(tmp_path, method=POLL, endpoint_url=None)
    put_numbered(house, 2)
    with house.store.begin() as conn:
        given, _ = queue.hand_out(conn, "s-1", house.now, 2, 60_000)
        queue.refuse(conn, "s-1", {queued.jti: (f"mine_{queued.seq}", "no") for queued in given}, house.now + 1000)

    for _ in range(2):
        house.look(2000)

    counted = "session_risk_transmitter_dead_letters_total"
    named = [
        sample for family in house.metrics.registry.collect() for sample in family.samples if sample.name == counted
    ]
    assert {sample.labels["error"]: sample.value for sample in named if sample.value} == {"other": 2}


def test_what_is_old_is_forgotten_and_keys_that_nothing_waits_for(tmp_path: Path) -> None:
    house = new_house(tmp_path)
    put_numbered(house, 3)
    with house.store.begin() as conn:
        queue.mark_delivered(conn, [1], NOW)
        queue.dead_letter(conn, 2, "http_500", "answered 500", NOW)
        conn.execute(audit.insert().values(at=NOW, action="create stream", status=201))
        house.signer.rotate(conn, NOW)

    house.now = NOW + 31 * 24 * HOUR
    retired = house.signer.kid
    with house.store.begin() as conn:
        house.signer.rotate(conn, house.now - HOUR)
    house.keeping.purge()

    with house.store.read() as conn:
        assert conn.scalars(select(sets.c.seq)).all() == [3]
        assert conn.scalars(select(audit.c.seq)).all() == []
        assert set(conn.scalars(select(signing_keys.c.kid))) == {retired, house.signer.kid}


def test_what_waits_is_shown(tmp_path: Path) -> None:
    house = new_house(tmp_path)
    put_numbered(house, 3)

    house.look(5000)

    value = house.metrics.registry.get_sample_value
    labels = {"method": "push"}
    assert value("session_risk_transmitter_waiting_tokens", labels) == 3
    assert value("session_risk_transmitter_oldest_token_seconds", labels) == 5
    assert value("session_risk_transmitter_streams", {**labels, "status": "enabled"}) == 1


def test_it_stops_when_it_is_told(tmp_path: Path) -> None:
    house = new_house(tmp_path)

    async def main() -> None:
        task = asyncio.create_task(house.keeping.run())
        await asyncio.sleep(0.05)
        house.keeping.stop()
        await asyncio.wait_for(task, 10)

    asyncio.run(main())
