"""`session-risk worker`: one worker, or a supervisor over several, made from the settings."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import click
from prometheus_client import CollectorRegistry

from pipeline import process_setup
from pipeline.assembly import configured, leaving, options, stage_kinds
from pipeline.control.reloader import ConfigReloader
from pipeline.kafka.acls import check_rights, rights_of
from pipeline.kafka.app import Control, WorkerConfig, build_app
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import PARTITIONS, EmbeddedBroker
from pipeline.kafka.topics import (
    STAGES,
    BrokerUnreachableError,
    RightsMissingError,
    check_topics,
    needed_topics,
    ping_broker,
)
from pipeline.metrics import worker
from pipeline.process_setup import end_if_told
from pipeline.processing import failpoints
from pipeline.settings.loading import Settings, load
from pipeline.worker.observer import MetricsObserver
from pipeline.worker.process import run_worker
from pipeline.worker.supervisor import INDEX_VARIABLE, supervise
from pipeline.worker.warmup import compile_all
from schemas.topics import MODEL_CONTROL

logger = logging.getLogger(__name__)


@click.command("worker", short_help="Join what happens in Kafka and decide, until told to stop.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes to keep running.")
def command(*, workers: int) -> int:
    """Join what happens in Kafka and decide, until told to stop.

    On SIGTERM or Ctrl-C a worker finishes what it has begun, commits, and ends with 0. With several workers a
    supervisor restarts those that fail; the metrics of each are on the next port.
    """
    settings = load()
    failpoints.arm(os.environ.get(failpoints.VARIABLE))
    if settings.embedded and workers > 1:
        raise click.UsageError("the embedded broker lives in one process: use --workers 1, or a real broker")
    process_setup.begin(settings.log_level)
    leaving(settings, ())  # what is wrong with its keys is said before anything starts
    with _connected(settings) as connection:
        partitions = PARTITIONS if connection.embedded else settings.partitions
        _check(connection, settings.app_id, partitions)
        process_setup.hear_of_kafka()
        if workers > 1:
            return supervise(workers, [sys.executable, "-m", "pipeline.cli", "worker"])
        return _work(settings, connection, partitions)


def _check(connection: Connection, app_id: str, partitions: int) -> None:
    """Look whether there is all that a worker needs, before it takes anything over."""
    asyncio.run(ping_broker(connection))
    if connection.security_protocol != "PLAINTEXT":  # there, everybody is the same nobody
        check_rights(connection, rights_of("worker", app_id, STAGES))
    asyncio.run(check_topics(connection, needed_topics(app_id, STAGES, partitions)))


@contextmanager
def _connected(settings: Settings) -> Iterator[Connection]:
    if not settings.embedded:
        yield Connection.of(settings)
        return
    with EmbeddedBroker() as broker:
        click.echo(f"an embedded broker listens on {broker.bootstrap}, for trying out only", err=True)
        yield replace(Connection.of(settings), bootstrap=broker.bootstrap)


def _work(settings: Settings, connection: Connection, partitions: int) -> int:
    end_if_told()
    index = int(os.environ.get(INDEX_VARIABLE, "0"))
    in_force = ConfigReloader(configured(settings))
    compile_all(in_force.brain)
    shown = worker.Metrics(CollectorRegistry())
    watching = MetricsObserver(shown, in_force, [in_force.check])
    kinds = watching.kinds(stage_kinds(in_force.brain, options(settings, partitions, from_topics=True)))
    edge = edge_of(settings, connection, partitions, index)
    app = build_app(edge, leaving(settings, kinds), watching, Control(MODEL_CONTROL, in_force.on_control_record))
    with _metrics_served(settings, shown, index):
        policy, model = in_force.policy, in_force.champion or "none"
        logger.info("policy %s, mode %s, decides with model %s", policy.id, policy.mode, model)
        code = run_worker(app)
    if app.was_refused:
        _tell_what_is_refused(connection, settings.app_id)
    return code


def _tell_what_is_refused(connection: Connection, app_id: str) -> None:
    """Say which right was taken away: the client's own error names a topic at most."""
    try:
        check_rights(connection, rights_of("worker", app_id, STAGES))
    except (RightsMissingError, BrokerUnreachableError) as error:
        logger.critical("%s", error)


@contextmanager
def _metrics_served(settings: Settings, shown: worker.Metrics, index: int) -> Iterator[None]:
    if settings.metrics_port == 0:
        yield
        return
    port = settings.metrics_port + index
    stop = worker.serve(shown.registry, settings.metrics_host, port)
    logger.info("metrics are on http://%s:%d/metrics", settings.metrics_host, port)
    try:
        yield
    finally:
        stop()


def edge_of(settings: Settings, connection: Connection, partitions: int, index: int = 0) -> WorkerConfig:
    """Return what the edge is set to, for this host's worker number *index*."""
    return WorkerConfig(
        connection=connection,
        app_id=settings.app_id,
        partitions=partitions,
        session_timeout_s=settings.session_timeout_s,
        chunk_size=settings.chunk_size,
        fetch_wait_ms=settings.fetch_wait_ms,
        idle_s=settings.sweep_s,
        data_dir=settings.data_dir / f"worker-{index}",
    )
