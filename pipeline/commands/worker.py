"""`session-risk worker`: one worker process, made from the settings."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import click
from prometheus_client import CollectorRegistry

from pipeline import process_setup
from pipeline.assembly import configured, options, processor_specs, pseudonymized
from pipeline.control.reloader import ConfigReloader
from pipeline.kafka.acls import check_rights, rights_of
from pipeline.kafka.app import Control, WorkerConfig, build_app
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import PARTITIONS, EmbeddedBroker
from pipeline.kafka.topics import (
    PROCESSOR_NAMES,
    BrokerUnreachableError,
    RightsMissingError,
    check_topics,
    needed_topics,
    ping_broker,
)
from pipeline.metrics import worker
from pipeline.process_setup import exit_on_sigterm
from pipeline.processing import failpoints
from pipeline.settings.loading import Settings, load
from pipeline.worker.observer import MetricsObserver
from pipeline.worker.process import run_worker
from pipeline.worker.warmup import compile_all
from schemas.topics import MODEL_CONTROL

logger = logging.getLogger(__name__)


@click.command("worker", short_help="Join the events in Kafka and decide, until stopped.")
def command() -> int:
    """Join the events in Kafka per session and decide, until stopped.

    On SIGTERM or Ctrl-C a worker finishes what it has started, commits, and exits with 0. Workers of one host need
    different ports for their metrics; deploy/ shows how Docker Compose or systemd starts several.
    """
    settings = load()
    failpoints.arm(os.environ.get(failpoints.VARIABLE))
    process_setup.configure_logging(settings.log_level)
    pseudonymized(settings, ())  # a problem with its keys is reported before anything starts
    with _connected(settings) as connection:
        partitions = PARTITIONS if connection.embedded else settings.partitions
        _check(connection, settings.app_id, partitions)
        process_setup.log_kafka_client()
        return _work(settings, connection, partitions)


def _check(connection: Connection, app_id: str, partitions: int) -> None:
    """Check that a worker has everything it needs, before it takes over partitions."""
    asyncio.run(ping_broker(connection))
    if connection.security_protocol != "PLAINTEXT":  # without authentication there are no users to have rights
        check_rights(connection, rights_of("worker", app_id, PROCESSOR_NAMES))
    asyncio.run(check_topics(connection, needed_topics(app_id, PROCESSOR_NAMES, partitions)))


@contextmanager
def _connected(settings: Settings) -> Iterator[Connection]:
    if not settings.embedded:
        yield Connection.of(settings)
        return
    with EmbeddedBroker() as broker:
        click.echo(f"an embedded broker listens on {broker.bootstrap}, for evaluation only", err=True)
        yield replace(Connection.of(settings), bootstrap=broker.bootstrap)


def _work(settings: Settings, connection: Connection, partitions: int) -> int:
    exit_on_sigterm()
    reloader = ConfigReloader(configured(settings))
    compile_all(reloader.active)
    metrics = worker.Metrics(CollectorRegistry())
    observer = MetricsObserver(metrics, reloader, [reloader.check])
    specs = observer.specs(processor_specs(reloader.active, options(settings, partitions, from_topics=True)))
    config = worker_config(settings, connection, partitions)
    app = build_app(
        config, pseudonymized(settings, specs), observer, Control(MODEL_CONTROL, reloader.on_control_record)
    )
    with _metrics_served(settings, metrics):
        policy, model = reloader.policy, reloader.champion or "none"
        logger.info("policy %s, mode %s, decides with model %s", policy.id, policy.mode, model)
        code = run_worker(app)
    if app.was_refused:
        _report_missing_rights(connection, settings.app_id)
    return code


def _report_missing_rights(connection: Connection, app_id: str) -> None:
    """Log which right was revoked: the client's own error names at most a topic."""
    try:
        check_rights(connection, rights_of("worker", app_id, PROCESSOR_NAMES))
    except (RightsMissingError, BrokerUnreachableError) as error:
        logger.critical("%s", error)


@contextmanager
def _metrics_served(settings: Settings, metrics: worker.Metrics) -> Iterator[None]:
    if settings.metrics_port == 0:
        yield
        return
    stop = worker.serve(metrics.registry, settings.metrics_host, settings.metrics_port)
    logger.info("metrics are on http://%s:%d/metrics", settings.metrics_host, settings.metrics_port)
    try:
        yield
    finally:
        stop()


def worker_config(settings: Settings, connection: Connection, partitions: int) -> WorkerConfig:
    """Return the configuration of the Kafka layer."""
    return WorkerConfig(
        connection=connection,
        app_id=settings.app_id,
        partitions=partitions,
        session_timeout_s=settings.session_timeout_s,
        chunk_size=settings.chunk_size,
        fetch_wait_ms=settings.fetch_wait_ms,
        idle_s=settings.sweep_s,
        data_dir=settings.data_dir,
    )
