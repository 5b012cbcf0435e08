"""One transmitter: serves HTTP, and works while it leads; until it is told to stop or cannot go on.

The exit code is the promise, as it is a worker's: 0 after a signal, with everything that was begun ended; 1
after a failure.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import SystemRandom
from time import time
from typing import Final

from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import RightsMissingError, TopicsNotReadyError
from pipeline.process_setup import tune_garbage_collection
from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.ack_producer import AckProducer
from pipeline.transmitter.api.app import create_app
from pipeline.transmitter.api.server import server, serving
from pipeline.transmitter.delivery.housekeeping import Housekeeper
from pipeline.transmitter.delivery.http_client import check_url
from pipeline.transmitter.delivery.push import PushDelivery
from pipeline.transmitter.leader import LeaderLoop, LeaderTask, RestartingReader
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.services import Services
from pipeline.transmitter.store.database import Store, StoreError
from pipeline.transmitter.store.encryption import SealError
from pipeline.transmitter.store.signing_keys import Signer
from pipeline.transmitter.tokens.builder import TokenBuilder
from pipeline.transmitter.tokens.consumer import CommandConsumer
from pipeline.transmitter.tokens.subjects import Subjects
from schemas.decoded import Limits

logger = logging.getLogger(__name__)

PLAIN: Final = (RightsMissingError, TopicsNotReadyError, SealError)
"""Failures that say all there is to say: where in the code they came up helps nobody."""

SWITCH_SECONDS: Final = 0.001
"""How long a thread that signs may keep pushes and polls waiting; Python's own are 5 ms."""

KEYS_S: Final = 10.0
"""Seconds within which a key that another process made is the one that signs here."""


@dataclass(frozen=True, slots=True)
class TransmitterComponents:
    """What a transmitter is made of."""

    connection: Connection
    limits: Limits
    settings: TransmitterSettings
    store: Store
    signer: Signer
    subjects: Subjects
    bell: Notifier
    metrics: TransmitterMetrics


def clock() -> int:
    """The wall clock, ms since the epoch."""
    return int(time() * 1000)


def run(means: TransmitterComponents, at: socket.socket) -> int:
    """Transmit, serving HTTP *at* this socket, until SIGTERM or SIGINT or a failure; return the exit code."""
    sys.setswitchinterval(SWITCH_SECONDS)
    tune_garbage_collection()
    return asyncio.run(_run(means, at))


async def _run(means: TransmitterComponents, at: socket.socket) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    try:
        return await transmit(means, at, ended)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def transmit(means: TransmitterComponents, at: socket.socket, ended: asyncio.Event) -> int:
    """Transmit until *ended* is set or something fails; return the exit code."""
    confirming = AckProducer(means.connection)
    working = LeaderLoop(
        means.store,
        partial(_parts, means),
        means.settings.push_timeout_s,
        means.metrics.leads.set,
    )
    served = server(create_app(_services(means, confirming)), means.settings)
    async with serving(served, at) as serves:
        works = asyncio.create_task(working.run(), name="working")
        keys = asyncio.create_task(_follow_keys(means), name="keys")
        task_read = asyncio.create_task(ended.wait())
        await asyncio.wait({serves, works, keys, task_read}, return_when=asyncio.FIRST_COMPLETED)
        failed = [task for task in (serves, works, keys) if task.done()]
        working.stop()
        await asyncio.wait({works})
        means.bell.close()
        for task in (keys, task_read):
            task.cancel()
    await confirming.close()
    code = _tell(failed or [task for task in (serves, works) if task.exception()])
    return code if working.stopped_cleanly else 1


def _tell(failed: Sequence[asyncio.Task[None]]) -> int:
    """Say what made a task end that should not have; return the exit code."""
    for task in failed:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, PLAIN):
            logger.critical("the transmitter cannot go on: %s", error)
        else:
            name = task.get_name()
            logger.critical("the transmitter cannot go on: %s ended: %r", name, error, exc_info=error)
    return 1 if failed else 0


def _services(means: TransmitterComponents, confirming: AckProducer) -> Services:
    return Services(
        settings=means.settings,
        store=means.store,
        signer=means.signer,
        bell=means.bell,
        clock=clock,
        acks=confirming.write,
        guard=partial(check_url, settings=means.settings),
    )


def _parts(means: TransmitterComponents) -> Sequence[LeaderTask]:
    """What works while this process leads."""
    store, settings, bell, metrics = means.store, means.settings, means.bell, means.metrics
    intake = CommandConsumer(
        connection=means.connection,
        group=settings.group,
        limits=means.limits,
        statements=TokenBuilder(store, means.signer, means.subjects, settings.issuer, tenancy=means.limits.tenancy),
        metrics=metrics,
        ring=bell.notify,
        clock=clock,
        confirm_within_s=settings.confirm_within_s,
    )
    return (
        RestartingReader(intake),
        PushDelivery(store, settings, bell, metrics, clock, SystemRandom()),
        Housekeeper(store, means.signer, settings, bell, metrics, clock),
    )


async def _follow_keys(means: TransmitterComponents) -> None:
    """Sign with the newest key, whichever process made it."""

    def refresh() -> None:
        with suppress(StoreError), means.store.read() as conn:
            means.signer.refresh(conn)

    while True:
        await asyncio.sleep(KEYS_S)
        await asyncio.to_thread(refresh)
