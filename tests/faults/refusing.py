"""Requests to write, and the brokers' answers to them, so changed that some topics are refused.

As when a broker has lost the disk of some partitions and not that of others: one request holds both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Final, NamedTuple

from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.protocol.types import Int16, Int32, String

PRODUCE: Final = 0
"""The API key of requests to write."""
LIKE_V7: Final = range(5, 8)
"""Versions of that request that have the same form, and so have their answers."""

Answer = list[tuple[str, list[tuple[int, int, int, int, int]]]]
"""For each topic its partitions, each with an error code, and the place and time of what was written."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Writes to topics that are *of* it are answered with the code *error*.

    *though_written*: they are passed on, as a broker does that cannot have records copied in time.
    """

    error: int
    of: Callable[[str], bool] = lambda _: True
    though_written: bool = False


class Divided(NamedTuple):
    """A request to write: what is *refused* of it, and what there is to *pass_on*."""

    correlation: int
    refused: Answer
    pass_on: bytes | None


def is_write(request: bytes) -> bool:
    """Whether it is a request to write."""
    return bool(Int16.decode(BytesIO(request)) == PRODUCE)


def divided(request: bytes, refusal: Refusal) -> Divided:
    """Return what is refused of a *request* to write, and what is not."""
    bytes_io = BytesIO(request)
    _, version, correlation = Int16.decode(bytes_io), Int16.decode(bytes_io), Int32.decode(bytes_io)
    String("utf-8").decode(bytes_io)
    assert version in LIKE_V7, f"version {version} of a request to write is not known here"
    header = request[: bytes_io.tell()]
    body = ProduceRequest_v7.decode(bytes_io)
    refused = [
        (topic, [(partition, refusal.error, -1, -1, -1) for partition, _ in partitions])
        for topic, partitions in body.topics
        if refusal.of(topic)
    ]
    if refusal.though_written or not refused:
        return Divided(correlation, refused, request)
    left = [(topic, partitions) for topic, partitions in body.topics if not refusal.of(topic)]
    if not left:
        return Divided(correlation, refused, None)
    rest = ProduceRequest_v7(body.transactional_id, body.required_acks, body.timeout, left)
    return Divided(correlation, refused, header + rest.encode())


def answer(correlation: int, refused: Answer, response: bytes | None = None) -> bytes:
    """Return the answer that says what is *refused*, and of the rest what the broker's *response* says."""
    topics = {topic for topic, _ in refused}
    sent_answer: Answer = [] if response is None else ProduceResponse_v7.decode(response[4:]).topics
    rest = [(topic, partitions) for topic, partitions in sent_answer if topic not in topics]
    return bytes(Int32.encode(correlation) + ProduceResponse_v7([*rest, *refused], 0).encode())
