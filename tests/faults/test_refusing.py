"""The proxy refuses of a request what it must, and no more: for the rest the broker answers."""

from __future__ import annotations

from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.protocol.types import Int16, Int32, String

from tests.faults.refusing import Refusal, answer, divided, is_write

HEADER = Int16.encode(0) + Int16.encode(7) + Int32.encode(5) + String("utf-8").encode("a client")
TOPICS = [("rows", [(0, b"r0"), (1, b"r1")]), ("risk", [(3, b"m3")])]
REQUEST = HEADER + ProduceRequest_v7(None, -1, 40_000, TOPICS).encode()
REFUSED = [("rows", [(0, 56, -1, -1, -1), (1, 56, -1, -1, -1)])]


def _of_rows(topic: str) -> bool:
    return topic == "rows"


def test_a_request_is_divided_by_topic() -> None:
    rest = HEADER + ProduceRequest_v7(None, -1, 40_000, TOPICS[1:]).encode()

    assert divided(REQUEST, Refusal(56, _of_rows)) == (5, REFUSED, rest)


def test_nothing_is_passed_on_of_what_is_refused_as_a_whole_and_all_of_what_is_not_refused() -> None:
    assert divided(REQUEST, Refusal(56)).pass_on is None
    assert divided(REQUEST, Refusal(56, lambda _: False)) == (5, [], REQUEST)


def test_what_is_refused_though_it_is_written_is_passed_on_too() -> None:
    assert divided(REQUEST, Refusal(56, _of_rows, though_written=True)) == (5, REFUSED, REQUEST)


def test_the_broker_answers_for_what_was_passed_on() -> None:
    written = [("risk", [(3, 0, 70, -1, 0)])]
    both = [("rows", [(0, 0, 10, -1, 0), (1, 0, 20, -1, 0)]), *written]
    answers = {
        "by nobody else": answer(5, REFUSED),
        "for the rest": answer(5, REFUSED, Int32.encode(5) + ProduceResponse_v7(written, 0).encode()),
        "for all": answer(5, REFUSED, Int32.encode(5) + ProduceResponse_v7(both, 0).encode()),
    }

    assert {
        name: (Int32.encode(5) == payload[:4], ProduceResponse_v7.decode(payload[4:]).topics)
        for name, payload in answers.items()
    } == {
        "by nobody else": (True, REFUSED),
        "for the rest": (True, [*written, *REFUSED]),
        "for all": (True, [*written, *REFUSED]),
    }


def test_only_requests_to_write_are_looked_at() -> None:
    assert [is_write(REQUEST), is_write(Int16.encode(1) + REQUEST[2:])] == [True, False]
