"""From settings to a transmitter at work: whatever may be missing is looked at before anything starts."""

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
from pipeline.transmitter.static_streams import BadStreamsError, DeclaredStream, bring, read_streams
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


def start(settings: Settings, own: TransmitterSettings) -> int:
    """Look whether there is all that a transmitter needs, and transmit; return the exit code.

    What is wrong is raised, in a sentence: `SettingsError`, `OSError`, `StoreError`, `SealError`,
    `WeakKeyError`, `SubjectsError`, `BadStreamsError`, or what the brokers refuse.
    """
    if settings.embedded:
        raise SettingsError(
            "SESSION_RISK_EMBEDDED: the embedded broker is inside another process; name a broker in SESSION_RISK_BROKER"
        )
    process_setup.configure_logging(settings.log_level)
    exit_on_sigterm()
    check_certificate(own)
    connection = Connection.of(settings)
    look(connection, settings.partitions, own.group)
    process_setup.log_kafka_client()
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # its coming and going is told by whoever has it
    with listen(own) as at, _measured(settings, own) as shown:
        means = prepare(connection, limits_of(settings, from_topics=True), own, shown)
        try:
            logger.info("issuer %s listens on %s:%d, %s", own.issuer, own.host, own.port, means.store.name)
            return run(means, at)
        finally:
            means.store.close()


def prepare(
    connection: Connection, bounds: Limits, own: TransmitterSettings, shown: TransmitterMetrics
) -> TransmitterComponents:
    """Open the store, with a key that signs and the streams that are declared; raises as `start` does."""
    subjects = Subjects.load(own.subjects_file)
    declared = [] if own.streams_file is None else _declared(own.streams_file, own)
    store = open_configured_store(own)
    try:
        signer = open_signer(store, own.alg, own.rsa_bits, clock())
        _bring(store, declared, own.streams_file, Announcer(own.issuer, signer))
        if bounds.tenancy:
            _tell_untold(store)
    except BaseException:
        store.close()
        raise
    return TransmitterComponents(connection, bounds, own, store, signer, subjects, Notifier(), shown)


def _declared(path: Path, own: TransmitterSettings) -> list[DeclaredStream]:
    """Read the streams of the operator's file; an address that is never pushed to is refused here already."""
    declared = read_streams(path)
    for url in {this_declared.stream.endpoint_url for this_declared in declared} - {None}:
        try:
            check_url(str(url), own)
        except ForbiddenUrlError as error:
            raise BadStreamsError(f"{path}: endpoint_url {url}: {error}") from None
    return declared


def _bring(store: Store, declared: list[DeclaredStream], path: Path | None, announcer: Announcer) -> None:
    """Make the declared streams of the store those of the file, and tell them of another status."""
    try:
        with store.begin() as conn:
            before = streams.every(conn, store.sealer)
            brought = bring(conn, store.sealer, declared, clock())
            announcer.changed(conn, before, streams.every(conn, store.sealer), clock())
    except BadStreamsError as error:
        raise BadStreamsError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None
    for what, names in (("new", brought.added), ("changed", brought.changed), ("removed", brought.removed)):
        if names:
            logger.info("declared streams, %s: %s", what, ", ".join(names))


def _tell_untold(store: Store) -> None:
    with store.read() as conn:
        untold = streams.without_tenant(conn)
    if untold:
        logger.warning("%s", no_tenant_warning(untold))


def look(connection: Connection, partitions: int, group: str) -> None:
    """Return if the brokers answer, let this client do what it must, and have the topics; raises if not."""
    asyncio.run(ping_broker(connection))
    if connection.security_protocol != "PLAINTEXT":  # there, everybody is the same nobody
        check_rights(connection, rights(group))
    needed = [TOPICS[name] for name in dict.fromkeys((*READ, *WRITTEN))]
    topics = [NeededTopic(topic.name, topic.partitions(partitions), topic.config()) for topic in needed]
    asyncio.run(check_topics(connection, topics))


def rights(group: str) -> tuple[Right, ...]:
    """Return what this program does in Kafka: some of what its role may."""
    return (
        *(Right("read", "topic", name) for name in READ),
        *(Right("write", "topic", name) for name in WRITTEN),
        Right("read", "group", group),
    )


@contextmanager
def _measured(settings: Settings, own: TransmitterSettings) -> Iterator[TransmitterMetrics]:
    """Give the metrics, shown while the block lasts; raises `OSError` where the address cannot be had."""
    shown = TransmitterMetrics(CollectorRegistry())
    if own.metrics_port == 0:
        yield shown
        return
    setting = "SESSION_RISK_TRANSMITTER_METRICS_PORT"
    stop = worker.serve(shown.registry, settings.metrics_host, own.metrics_port, setting)
    try:
        yield shown
    finally:
        stop()
