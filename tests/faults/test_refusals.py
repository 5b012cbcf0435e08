"""What workers write is refused, for a while or for good: nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiokafka.errors import (
    BrokerResponseError,
    CorruptRecordException,
    InvalidProducerEpoch,
    KafkaStorageError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    NotEnoughReplicasAfterAppendError,
    NotEnoughReplicasError,
    NotLeaderForPartitionError,
    OutOfOrderSequenceNumber,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from tests.faults.conftest import Player
from tests.faults.outcome import Wrong
from tests.faults.proxy import Proxy
from tests.faults.refusing import Refusal
from tests.faults.trial import Trial

COMMITS_SECONDS = 3.0
"""Offsets are committed every second: so long, and it would happen twice."""
MOMENT_SECONDS = 1.0
"""How long each error goes on."""

RETRIED = (
    KafkaStorageError,  # the disk is full, or gone
    NotEnoughReplicasError,
    NotLeaderForPartitionError,
    LeaderNotAvailableError,
    UnknownTopicOrPartitionError,
)
"""What passes: a worker must go on trying."""
THOUGH_WRITTEN = (NotEnoughReplicasAfterAppendError, RequestTimedOutError)
"""What passes, and the broker may have the records: they must not come twice by being sent again."""
Kept = Callable[[str], bool]


def _everything(topic: str) -> bool:
    return bool(topic)


def _rows(topic: str) -> bool:
    return topic.endswith("-changelog")


def _messages(topic: str) -> bool:
    return not _rows(topic)


FATAL: dict[type[BrokerResponseError], Kept] = {
    TopicAuthorizationFailedError: _everything,
    MessageSizeTooLargeError: _rows,
    CorruptRecordException: _messages,
    OutOfOrderSequenceNumber: _rows,
    InvalidProducerEpoch: _messages,
}
"""What does not pass, and for which topics: a worker must end, and commit nothing of what was refused."""


def test_each_error_is_tried_as_what_the_client_takes_it_for() -> None:
    passes = {error: error.retriable for error in (*RETRIED, *THOUGH_WRITTEN, *FATAL)}
    assert passes == {**dict.fromkeys((*RETRIED, *THOUGH_WRITTEN), True), **dict.fromkeys(FATAL, False)}


async def _each_for_a_moment(proxy: Proxy, refusals: list[Refusal]) -> None:
    for refusal in refusals:
        before, proxy.refusal = proxy.refused, refusal
        await asyncio.sleep(MOMENT_SECONDS)
        assert proxy.refused > before
    proxy.refusal = None


@pytest.mark.faults
@pytest.mark.parametrize(
    ("errors", "though_written"),
    [(RETRIED, False), (THOUGH_WRITTEN, True)],
    ids=["unwritten", "though written"],
)
def test_what_is_written_is_refused_for_a_while(
    play: Player, errors: tuple[type[BrokerResponseError], ...], *, though_written: bool
) -> None:
    async def refuse(one: Trial, proxy: Proxy) -> None:
        await one.moment()
        await one.hurt()
        refusals = [Refusal(error.errno, though_written=though_written) for error in errors]
        await _each_for_a_moment(proxy, refusals)

    run = play.through_proxy(refuse)
    assert (run.wrong, run.repeated, run.restarts) == (Wrong(), 0, 0)


@pytest.mark.faults
def test_a_worker_ends_when_what_it_writes_is_refused_for_good_and_the_next_goes_on(play: Player) -> None:
    async def refuse(one: Trial, proxy: Proxy) -> None:
        await one.moment()
        await one.hurt()
        for number, (error, kept_out) in enumerate(FATAL.items()):
            proxy.refusal = Refusal(error.errno, kept_out)
            worker = await one.fleet.worker(number)
            assert await worker.ended() == 1, error
        proxy.refusal = None

    run = play.through_proxy(refuse)
    assert (run.wrong, run.restarts) == (Wrong(), len(FATAL))


@pytest.mark.faults
@pytest.mark.parametrize("kept_out", [_messages, _rows], ids=["messages", "rows"])
def test_a_worker_dies_whose_writes_were_refused_and_it_had_committed_nothing_of_it(
    play: Player, kept_out: Kept
) -> None:
    async def refuse_and_kill(one: Trial, proxy: Proxy) -> None:
        await one.moment()
        proxy.refusal = Refusal(KafkaStorageError.errno, kept_out)
        await asyncio.sleep(COMMITS_SECONDS)
        assert proxy.refused > 0
        one.fleet.workers[0].kill()
        await one.hurt()
        proxy.refusal = None

    run = play.through_proxy(refuse_and_kill)
    assert (run.wrong, run.restarts) == (Wrong(), 1)
    assert run.repeated > 0 or kept_out is _messages  # messages that came through without their rows come again
