"""Transmitter process: serves HTTP, and works while it leads, until it is stopped or cannot go on.

The exit code is the same as a worker's: 0 after a signal, when everything that was begun has ended; 1 after a
failure.
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

SELF_EXPLANATORY_ERRORS: Final = (RightsMissingError, TopicsNotReadyError, SealError)
"""Failures whose message says everything: a traceback would help nobody."""

SWITCH_SECONDS: Final = 0.001
"""How long a thread that signs may delay pushes and polls; Python's default is 5 ms."""

KEY_REFRESH_S: Final = 10.0
"""Seconds within which this process signs with a key that another process made."""


@dataclass(frozen=True, slots=True)
class TransmitterComponents:
    """The components of one transmitter, from which `run` assembles its tasks."""

    connection: Connection
    limits: Limits
    settings: TransmitterSettings
    store: Store
    signer: Signer
    subjects: Subjects
    notifier: Notifier
    metrics: TransmitterMetrics


def clock() -> int:
    """The wall clock, ms since the epoch."""
    return int(time() * 1000)


def run(components: TransmitterComponents, listener: socket.socket) -> int:
    """Transmit, serving HTTP on socket *listener*, until SIGTERM, SIGINT or a failure; return the exit code."""
    sys.setswitchinterval(SWITCH_SECONDS)
    tune_garbage_collection()
    return asyncio.run(_run(components, listener))


async def _run(components: TransmitterComponents, listener: socket.socket) -> int:
    stop_requested = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop_requested.set)
    try:
        return await transmit(components, listener, stop_requested)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def transmit(components: TransmitterComponents, listener: socket.socket, stop_requested: asyncio.Event) -> int:
    """Transmit until *stop_requested* is set or something fails; return the exit code."""
    ack_producer = AckProducer(components.connection)
    leader_loop = LeaderLoop(
        components.store,
        partial(_leader_tasks, components),
        components.settings.push_timeout_s,
        components.metrics.leads.set,
    )
    http_server = server(create_app(_services(components, ack_producer)), components.settings)
    async with serving(http_server, listener) as http_task:
        leader_task = asyncio.create_task(leader_loop.run(), name="working")
        keys_task = asyncio.create_task(_follow_keys(components), name="keys")
        stop_task = asyncio.create_task(stop_requested.wait())
        await asyncio.wait({http_task, leader_task, keys_task, stop_task}, return_when=asyncio.FIRST_COMPLETED)
        failed = [task for task in (http_task, leader_task, keys_task) if task.done()]
        leader_loop.stop()
        await asyncio.wait({leader_task})
        components.notifier.close()
        for task in (keys_task, stop_task):
            task.cancel()
    await ack_producer.close()
    code = _log_failures(failed or [task for task in (http_task, leader_task) if task.exception()])
    return code if leader_loop.stopped_cleanly else 1


def _log_failures(failed: Sequence[asyncio.Task[None]]) -> int:
    """Log why a task ended that should not have; return the exit code."""
    for task in failed:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, SELF_EXPLANATORY_ERRORS):
            logger.critical("the transmitter cannot go on: %s", error)
        else:
            name = task.get_name()
            logger.critical("the transmitter cannot go on: %s ended: %r", name, error, exc_info=error)
    return 1 if failed else 0


def _services(components: TransmitterComponents, ack_producer: AckProducer) -> Services:
    return Services(
        settings=components.settings,
        store=components.store,
        signer=components.signer,
        notifier=components.notifier,
        clock=clock,
        acks=ack_producer.write,
        guard=partial(check_url, settings=components.settings),
    )


def _leader_tasks(components: TransmitterComponents) -> Sequence[LeaderTask]:
    """The tasks that run while this process leads."""
    store, settings, notifier, metrics = components.store, components.settings, components.notifier, components.metrics
    consumer = CommandConsumer(
        connection=components.connection,
        group=settings.group,
        limits=components.limits,
        builder=TokenBuilder(
            store, components.signer, components.subjects, settings.issuer, tenancy=components.limits.tenancy
        ),
        metrics=metrics,
        notify=notifier.notify,
        clock=clock,
        confirm_within_s=settings.confirm_within_s,
    )
    return (
        RestartingReader(consumer),
        PushDelivery(store, settings, notifier, metrics, clock, SystemRandom()),
        Housekeeper(store, components.signer, settings, notifier, metrics, clock),
    )


async def _follow_keys(components: TransmitterComponents) -> None:
    """Sign with the newest key of the store, whichever process made it."""

    def refresh() -> None:
        with suppress(StoreError), components.store.read() as conn:
            components.signer.refresh(conn)

    while True:
        await asyncio.sleep(KEY_REFRESH_S)
        await asyncio.to_thread(refresh)
