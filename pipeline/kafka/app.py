"""Worker app: connects processors to Kafka with Faust.

    source topics ─► BatchConsumer ─► agent ─► PartitionTask ─► processor ─► messages ─► rows ─► acknowledged ─► offsets
                                                                   ▲                      │
                                                                   └────── changelog ◄────┘   (restored when assigned)

This module does not know what a processor computes. One Faust table for each kind of processor makes Faust assign the
partitions of its changelog together with those of its sources; the tables themselves stay empty.
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
from pipeline.kafka.housekeeping import CHECK_SECONDS, PartitionMonitor
from pipeline.kafka.partition_tasks import Delivery, TaskManager, TaskResources
from pipeline.kafka.producer import MAX_REQUEST_BYTES, BatchProducer, BatchWriter
from pipeline.kafka.recovery import BulkRecovery, PartitionRestorer
from pipeline.processing.observer import NullObserver, Observer
from pipeline.processing.processor import ProcessorSpec, Record
from schemas.topics import TOPICS

logger = logging.getLogger(__name__)

IDLE_FETCH_WAIT_MS = 250
"""How long a fetch waits for its first record after a time without records."""

EMBEDDED_FETCH_WAIT_MS = 10
"""The embedded broker does not answer a waiting fetch when a record arrives, so fetches must be short."""

MAX_FETCH_BYTES = 1_100_000
"""Most bytes fetched from a partition at once; more than the largest batch that brokers accept by default."""


REFUSALS = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError)
"""What the client raises when the brokers do not authorize it."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """All settings of the Kafka layer of a worker."""

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
    """A topic that every worker reads from its beginning, and the function that takes each of its records."""

    topic: str
    on_record: Callable[[Record], None]


class WorkerApp(faust.App):
    """A Faust app that records why it must end; whoever runs it waits for `ended` and then stops it."""

    failure: BaseException | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ended = asyncio.Event()

    @property
    def was_refused(self) -> bool:
        """Whether it ended because the brokers did not authorize something."""
        return isinstance(self.failure, REFUSALS)

    def fail(self, error: BaseException) -> None:
        """End because of *error*: work under way is finished and committed, except the records that caused *error*."""
        if self.failure is None:
            self.failure = error
            logger.critical("stopping, so that these records are read again: %r", error, exc_info=error)
            self.ended.set()


class Housekeeping(Service):
    """Checks the partition tasks of *app* once a second."""

    def __init__(self, app: faust.App, monitor: PartitionMonitor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._app = app
        self._monitor = monitor

    @Service.task
    async def _check(self) -> None:
        while not self.should_stop:
            await self.sleep(CHECK_SECONDS)
            self._monitor.check(cast("BatchConsumer", self._app.consumer), time())


def build_app(
    config: WorkerConfig,
    specs: Sequence[ProcessorSpec],
    observer: Observer | None = None,
    control: Control | None = None,
) -> WorkerApp:
    """Return a Faust app that runs the processors of *specs*; `pipeline.worker.process` runs it.

    Raises `UnknownFaustError` if the installed Faust is not supported.
    """
    check_faust()
    config.data_dir.mkdir(parents=True, exist_ok=True)  # Faust makes only the last folder of the path
    observer = observer or NullObserver()
    app = _app(config)
    fences = ProducerFence()
    writer = BatchWriter(lambda: cast("BatchProducer", app.producer).kafka(), fences)
    tasks = TaskManager(observer, config.drain_s)
    lease = Lease(config.session_timeout_s)
    app.transport = _transport(app, consumer_config(config, lease, tasks), fences)
    app.producer_transport = app.transport
    resources = TaskResources(
        writer=writer,
        slots=asyncio.Semaphore(config.in_flight),
        records=config.chunk_size,
        observer=observer,
        failed=app.fail,
    )
    restorer = PartitionRestorer(
        app_id=config.app_id,
        connection=config.connection,
        specs=specs,
        tasks=tasks,
        lease=lease,
        resources=resources,
    )
    services: list[Service] = [Housekeeping(app, PartitionMonitor(tasks, specs, observer, config.idle_s))]
    if control is not None:
        services.append(GlobalTopicReader(config.connection, control.topic, control.on_record))
    cast("TableManager", app.tables)._recovery = BulkRecovery(
        app, app.tables, restorer, services, beacon=app.tables.beacon
    )
    for spec in specs:
        _add_agent(app, spec, tasks)
    return app


def consumer_config(config: WorkerConfig, lease: Lease, tasks: TaskManager) -> ConsumerConfig:
    """Return how the consumer of a worker with this *config* reads."""
    wait_ms = config.fetch_wait_ms
    idle_wait_ms = max(wait_ms, IDLE_FETCH_WAIT_MS)
    if config.connection.embedded:
        wait_ms = idle_wait_ms = min(wait_ms, EMBEDDED_FETCH_WAIT_MS)
    # When more calls arrive than can be processed, the revocation of a stolen session must not wait for them.
    lead_ms = {topic.name: config.lead_ms for topic in TOPICS.values() if not topic.bulk}
    return ConsumerConfig(
        lease=lease,
        drain=tasks.drain,
        chunk_size=config.chunk_size,
        fetch_wait_ms=wait_ms,
        idle_wait_ms=idle_wait_ms,
        skew_ms=config.skew_ms,
        lead_ms=lead_ms,
    )


def _app(config: WorkerConfig) -> WorkerApp:
    return WorkerApp(
        config.app_id,
        **config.connection.for_faust(),
        autodiscover=False,
        datadir=config.data_dir,
        store="memory://",
        processing_guarantee="at_least_once",
        agent_supervisor=CrashingSupervisor,
        # `pipeline.kafka.topics` makes the topics with all they need; Faust would make them with less.
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=config.partitions,
        table_standby_replicas=0,
        broker_session_timeout=config.session_timeout_s,
        broker_heartbeat_interval=min(3.0, config.session_timeout_s / 3),
        broker_rebalance_timeout=max(20.0, 2 * config.session_timeout_s),
        broker_commit_interval=config.commit_interval_s,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=MAX_FETCH_BYTES,
        producer_linger=0,
        producer_max_batch_size=MAX_REQUEST_BYTES,
        producer_max_request_size=MAX_REQUEST_BYTES,
        producer_request_timeout=40.0,
        stream_buffer_maxsize=1,
        stream_wait_empty=True,
        # Metrics have a server of their own; Faust's would show the content of tables.
        web_enabled=False,
    )


def _transport(app: faust.App, config: ConsumerConfig, fences: ProducerFence) -> BatchTransport:
    transport = BatchTransport(app.conf.broker_consumer, app)
    transport.consumer_config = config
    transport.fences = fences
    return transport


def _add_agent(app: faust.App, spec: ProcessorSpec, tasks: TaskManager) -> None:
    app.Table(table_name(spec.name), partitions=app.conf.topic_partitions, key_type=bytes, value_type=bytes)
    sources = app.topic(*spec.sources, schema=ChunkSchema())

    async def enqueue(stream: StreamT[Any]) -> None:
        events = cast("faust.Stream[Any]", stream).noack().events()
        async for event in cast("AsyncIterator[EventT[Any]]", events):
            await tasks.put(spec.name, cast("Delivery", event))

    app.agent(sources, name=spec.name)(enqueue)
