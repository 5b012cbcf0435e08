"""Startup of a transmitter: checks everything it needs before anything starts, then runs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from pipeline import process_setup
from pipeline.kafka.acls import Right, check_rights
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import NeededTopic, check_topics, ping_broker
from pipeline.metrics import worker
from pipeline.process_setup import exit_on_sigterm
from pipeline.settings.loading import Settings, SettingsError, limits_of
from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.api.server import check_certificate, listen
from pipeline.transmitter.delivery.http_client import ForbiddenUrlError, check_url
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.process import TransmitterComponents, clock, run
from pipeline.transmitter.static_streams import BadStreamsError, DeclaredStream, read_streams, sync_declared
from pipeline.transmitter.store import streams
from pipeline.transmitter.store.database import Store, open_configured_store
from pipeline.transmitter.store.signing_keys import open_signer
from pipeline.transmitter.tokens.events import TOPICS as READ
from pipeline.transmitter.tokens.stream_events import Announcer
from pipeline.transmitter.tokens.stream_filter import no_tenant_warning
from pipeline.transmitter.tokens.subjects import Subjects
from schemas.decoded import Limits
from schemas.topics import REVOCATION_ACKS, TOPICS

logger = logging.getLogger(__name__)

WRITTEN: Final = (REVOCATION_ACKS,)


def start(settings: Settings, transmitter_settings: TransmitterSettings) -> int:
    """Check everything that a transmitter needs, and transmit; return the exit code.

    Each problem is raised with a sentence: `SettingsError`, `OSError`, `StoreError`, `SealError`, `WeakKeyError`,
    `SubjectsError`, `BadStreamsError`, or what the brokers refuse.
    """
    if settings.embedded:
        raise SettingsError(
            "SESSION_RISK_EMBEDDED: the embedded broker is inside another process; name a broker in SESSION_RISK_BROKER"
        )
    process_setup.configure_logging(settings.log_level)
    exit_on_sigterm()
    check_certificate(transmitter_settings)
    connection = Connection.of(settings)
    check_kafka(connection, settings.partitions, transmitter_settings.group)
    process_setup.log_kafka_client()
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # start and end are logged by this process
    with listen(transmitter_settings) as listener, _served_metrics(settings, transmitter_settings) as metrics:
        components = prepare(connection, limits_of(settings, from_topics=True), transmitter_settings, metrics)
        try:
            logger.info(
                "issuer %s listens on %s:%d, %s",
                transmitter_settings.issuer,
                transmitter_settings.host,
                transmitter_settings.port,
                components.store.name,
            )
            return run(components, listener)
        finally:
            components.store.close()


def prepare(
    connection: Connection, limits: Limits, transmitter_settings: TransmitterSettings, metrics: TransmitterMetrics
) -> TransmitterComponents:
    """Open the store, with a signing key and the declared streams in it; raises as `start` does."""
    subjects = Subjects.load(transmitter_settings.subjects_file)
    declared = (
        []
        if transmitter_settings.streams_file is None
        else _read_declared(transmitter_settings.streams_file, transmitter_settings)
    )
    store = open_configured_store(transmitter_settings)
    try:
        signer = open_signer(store, transmitter_settings.alg, transmitter_settings.rsa_bits, clock())
        _sync_declared(
            store, declared, transmitter_settings.streams_file, Announcer(transmitter_settings.issuer, signer)
        )
        if limits.tenancy:
            _warn_without_tenant(store)
    except BaseException:
        store.close()
        raise
    return TransmitterComponents(connection, limits, transmitter_settings, store, signer, subjects, Notifier(), metrics)


def _read_declared(path: Path, transmitter_settings: TransmitterSettings) -> list[DeclaredStream]:
    """Read the streams of the operator's file; an address that must not be pushed to is refused here already."""
    declared = read_streams(path)
    for url in {entry.stream.endpoint_url for entry in declared} - {None}:
        try:
            check_url(str(url), transmitter_settings)
        except ForbiddenUrlError as error:
            raise BadStreamsError(f"{path}: endpoint_url {url}: {error}") from None
    return declared


def _sync_declared(store: Store, declared: list[DeclaredStream], path: Path | None, announcer: Announcer) -> None:
    """Make the declared streams in the store match the file, and queue stream-updated for a changed status."""
    try:
        with store.begin() as conn:
            before = streams.every(conn, store.sealer)
            changes = sync_declared(conn, store.sealer, declared, clock())
            announcer.announce_changes(conn, before, streams.every(conn, store.sealer), clock())
    except BadStreamsError as error:
        raise BadStreamsError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None
    for change, names in (("new", changes.added), ("changed", changes.changed), ("removed", changes.removed)):
        if names:
            logger.info("declared streams, %s: %s", change, ", ".join(names))


def _warn_without_tenant(store: Store) -> None:
    with store.read() as conn:
        without_tenant_ids = streams.without_tenant(conn)
    if without_tenant_ids:
        logger.warning("%s", no_tenant_warning(without_tenant_ids))


def check_kafka(connection: Connection, partitions: int, group: str) -> None:
    """Return if the brokers respond, grant this client its rights, and have the topics; raises otherwise."""
    asyncio.run(ping_broker(connection))
    if connection.security_protocol != "PLAINTEXT":  # without authentication there are no rights
        check_rights(connection, rights(group))
    needed = [TOPICS[name] for name in dict.fromkeys((*READ, *WRITTEN))]
    topics = [NeededTopic(topic.name, topic.partitions(partitions), topic.config()) for topic in needed]
    asyncio.run(check_topics(connection, topics))


def rights(group: str) -> tuple[Right, ...]:
    """Return the rights in Kafka that this program uses: a subset of those of its role."""
    return (
        *(Right("read", "topic", name) for name in READ),
        *(Right("write", "topic", name) for name in WRITTEN),
        Right("read", "group", group),
    )


@contextmanager
def _served_metrics(settings: Settings, transmitter_settings: TransmitterSettings) -> Iterator[TransmitterMetrics]:
    """Give the metrics, served while the block lasts; raises `OSError` if the address cannot be bound."""
    metrics = TransmitterMetrics(CollectorRegistry())
    if transmitter_settings.metrics_port == 0:
        yield metrics
        return
    setting = "SESSION_RISK_TRANSMITTER_METRICS_PORT"
    stop = worker.serve(metrics.registry, settings.metrics_host, transmitter_settings.metrics_port, setting)
    try:
        yield metrics
    finally:
        stop()
