"""Wires stages to Kafka with Faust: who reads which topics, and what surrounds the work on them.

    source topics ─► BatchConsumer ─► agent ─► lane ─► stage ─► messages ─► rows ─► acknowledged ─► offsets
                                                         ▲                   │
                                                         └───── changelog ◄──┘      (read back when assigned)

What a stage computes is not known here. One Faust table for each kind makes Faust assign the partitions of
its changelog together with those of its sources; the tables themselves stay empty.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any, cast

import faust
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)
from faust.tables.manager import TableManager
from faust.types import EventT, StreamT
from mode import Service
from mode.supervisors import CrashingSupervisor

from pipeline.kafka.changelog import table_name
from pipeline.kafka.chunk import ChunkSchema
from pipeline.kafka.connection import Connection
from pipeline.kafka.consumer import BatchConsumer, BatchTransport
from pipeline.kafka.consumer_thread import ConsumerConfig
from pipeline.kafka.faust_internals import check_faust
from pipeline.kafka.fencing import Lease, ProducerFence
from pipeline.kafka.global_topic import GlobalTopicReader
from pipeline.kafka.housekeeping import LOOK_SECONDS, PartitionMonitor
from pipeline.kafka.partition_tasks import Delivery, TaskManager, TaskResources
from pipeline.kafka.producer import MAX_REQUEST_BYTES, BatchProducer, BatchWriter
from pipeline.kafka.recovery import BulkRecovery, PartitionRestorer
from pipeline.processing.observer import NullObserver, Observer
from pipeline.processing.processor import ProcessorSpec, Record
from schemas.topics import TOPICS

logger = logging.getLogger(__name__)

IDLE_FETCH_WAIT_MS = 250
"""How long a fetch waits for its first record where none came for a while."""

EMBEDDED_FETCH_WAIT_MS = 10
"""The embedded broker does not wake a fetch that waits: ask often."""

MAX_FETCH_BYTES = 1_100_000
"""Read from a partition at once; more than the largest batch there is by default."""


REFUSALS = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError)
"""What the client raises when the brokers do not let it do something."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Everything the edge can be set to."""

    connection: Connection
    app_id: str = "session-risk"
    partitions: int = 8
    session_timeout_s: float = 10.0
    commit_interval_s: float = 1.0
    chunk_size: int = 2048
    in_flight: int = 24
    skew_ms: int = 5_000
    lead_ms: int = 60_000
    fetch_wait_ms: int = 5
    idle_s: float = 10.0
    data_dir: Path = Path(".session-risk")

    @property
    def drain_s(self) -> float:
        """How long work may go on after partitions are revoked: well within the lease."""
        return self.session_timeout_s / 2


@dataclass(frozen=True, slots=True)
class Control:
    """A topic every worker reads from its beginning, and what to do with each of its records."""

    topic: str
    on_record: Callable[[Record], None]


class WorkerApp(faust.App):
    """A Faust app that knows why it must end; whoever runs it waits for `ended` and stops it."""

    failure: BaseException | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ended = asyncio.Event()

    @property
    def was_refused(self) -> bool:
        """Whether it ended since the brokers did not let it do something."""
        return isinstance(self.failure, REFUSALS)

    def fail(self, error: BaseException) -> None:
        """End with *error*: what is under way is finished and committed, the records of *error* are not."""
        if self.failure is None:
            self.failure = error
            logger.critical("stopping, so that these records are read again: %r", error, exc_info=error)
            self.ended.set()


class Housekeeping(Service):
    """Looks after the lanes of *app* once a second."""

    def __init__(self, app: faust.App, upkeep: PartitionMonitor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._app = app
        self._upkeep = upkeep

    @Service.task
    async def _check(self) -> None:
        while not self.should_stop:
            await self.sleep(LOOK_SECONDS)
            self._upkeep.check(cast("BatchConsumer", self._app.consumer), time())


def build_app(
    edge: WorkerConfig,
    kinds: Sequence[ProcessorSpec],
    observer: Observer | None = None,
    control: Control | None = None,
) -> WorkerApp:
    """Return a Faust app that runs *kinds* of stages; start it with `pipeline.worker.process`.

    Raises `UnknownFaustError` when the installed Faust is not one the edge was made for.
    """
    check_faust()
    edge.data_dir.mkdir(parents=True, exist_ok=True)  # Faust makes the last folder of the path only
    seen = observer or NullObserver()
    app = _app(edge)
    fences = ProducerFence()
    outbox = BatchWriter(lambda: cast("BatchProducer", app.producer).kafka(), fences)
    lanes = TaskManager(seen, edge.drain_s)
    lease = Lease(edge.session_timeout_s)
    app.transport = _transport(app, consumer_config(edge, lease, lanes), fences)
    app.producer_transport = app.transport
    means = TaskResources(outbox, asyncio.Semaphore(edge.in_flight), edge.chunk_size, seen, app.fail)
    take_over = PartitionRestorer(edge.app_id, edge.connection, kinds, lanes, lease, means)
    companions: list[Service] = [Housekeeping(app, PartitionMonitor(lanes, kinds, seen, edge.idle_s))]
    if control is not None:
        companions.append(GlobalTopicReader(edge.connection, control.topic, control.on_record))
    cast("TableManager", app.tables)._recovery = BulkRecovery(
        app, app.tables, take_over, companions, beacon=app.tables.beacon
    )
    for kind in kinds:
        _add_agent(app, kind, lanes)
    return app


def consumer_config(edge: WorkerConfig, lease: Lease, lanes: TaskManager) -> ConsumerConfig:
    """How a worker set so reads."""
    wait_ms = edge.fetch_wait_ms
    idle_wait_ms = max(wait_ms, IDLE_FETCH_WAIT_MS)
    if edge.connection.embedded:
        wait_ms = idle_wait_ms = min(wait_ms, EMBEDDED_FETCH_WAIT_MS)
    # Under more calls than can be worked on, a stolen session must not wait for them to be revoked.
    lead_ms = {topic.name: edge.lead_ms for topic in TOPICS.values() if not topic.bulk}
    return ConsumerConfig(lease, lanes.drain, edge.chunk_size, wait_ms, idle_wait_ms, edge.skew_ms, lead_ms)


def _app(edge: WorkerConfig) -> WorkerApp:
    return WorkerApp(
        edge.app_id,
        **edge.connection.for_faust(),
        autodiscover=False,
        datadir=edge.data_dir,
        store="memory://",
        processing_guarantee="at_least_once",
        agent_supervisor=CrashingSupervisor,
        # Topics are made by `pipeline.kafka.topics`, with what they need; Faust would make them with less.
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=edge.partitions,
        table_standby_replicas=0,
        broker_session_timeout=edge.session_timeout_s,
        broker_heartbeat_interval=min(3.0, edge.session_timeout_s / 3),
        broker_rebalance_timeout=max(20.0, 2 * edge.session_timeout_s),
        broker_commit_interval=edge.commit_interval_s,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=MAX_FETCH_BYTES,
        producer_linger=0,
        producer_max_batch_size=MAX_REQUEST_BYTES,
        producer_max_request_size=MAX_REQUEST_BYTES,
        producer_request_timeout=40.0,
        stream_buffer_maxsize=1,
        stream_wait_empty=True,
        # Metrics have their own server; Faust's would show what tables hold.
        web_enabled=False,
    )


def _transport(app: faust.App, reading: ConsumerConfig, fences: ProducerFence) -> BatchTransport:
    transport = BatchTransport(app.conf.broker_consumer, app)
    transport.reading = reading
    transport.fences = fences
    return transport


def _add_agent(app: faust.App, kind: ProcessorSpec, lanes: TaskManager) -> None:
    app.Table(table_name(kind.name), partitions=app.conf.topic_partitions, key_type=bytes, value_type=bytes)
    sources = app.topic(*kind.sources, schema=ChunkSchema())

    async def line_up(stream: StreamT[Any]) -> None:
        events = cast("faust.Stream[Any]", stream).noack().events()
        async for event in cast("AsyncIterator[EventT[Any]]", events):
            await lanes.put(kind.name, cast("Delivery", event))

    app.agent(sources, name=kind.name)(line_up)
