"""Table of the private parts of Faust and aiokafka that the Kafka layer uses, checked before anything starts.

A test also compares their source with the source this layer was written against. So a release that moves one of them
fails at the start or in that test, and not in the middle of a rebalance.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import faust

TESTED = "0.15"
"""Faust releases (major.minor) that the Kafka layer supports."""


class UnknownFaustError(Exception):
    """The installed Faust or aiokafka is not one that the Kafka layer supports."""


@dataclass(frozen=True, slots=True)
class Part:
    """A function: its location (``module:name``), the parameters it must have, and names its code must use."""

    path: str
    parameters: tuple[str, ...]
    uses: tuple[str, ...] = ()


_CONSUMER = "faust.transport.consumer:Consumer"
_THREAD = "faust.transport.consumer:ConsumerThread"
_DRIVER = "faust.transport.drivers.aiokafka"
_RECOVERY = "faust.tables.recovery:Recovery"
_GROUP = "aiokafka.consumer.group_coordinator:GroupCoordinator"
_FETCHER = "aiokafka.consumer.fetcher:Fetcher"
_SENDER = "aiokafka.producer.sender:Sender"
_STATE = "aiokafka.consumer.subscription_state"

PARTS = (
    # The inner loop and what is known about offsets.
    Part(f"{_CONSUMER}._drain_messages", ("self", "fetcher")),
    Part(f"{_CONSUMER}._get_active_partitions", ("self",)),
    Part(f"{_CONSUMER}._is_changelog_tp", ("self", "tp")),
    Part(
        f"{_CONSUMER}.__init__",
        (
            "self",
            "transport",
            "callback",
            "on_partitions_revoked",
            "on_partitions_assigned",
            "commit_interval",
            "commit_livelock_soft_timeout",
            "loop",
            "kwargs",
        ),
        ("_acked", "_acked_index", "_read_offset", "_committed_offset", "_unacked_messages"),
    ),
    Part(f"{_CONSUMER}.ack", ("self", "message"), ("_acked_index", "_acked", "_committed_offset")),
    Part(f"{_CONSUMER}._new_offset", ("self", "tp"), ("_acked",)),
    Part(f"{_CONSUMER}._commit_tps", ("self", "tps", "start_new_transaction"), ("_commit_offsets",)),
    Part(f"{_CONSUMER}._commit_offsets", ("self", "offsets", "start_new_transaction")),
    Part(f"{_CONSUMER}._filter_committable_offsets", ("self", "tps"), ("_new_offset", "_should_commit")),
    Part(f"{_CONSUMER}.perform_seek", ("self",), ("_read_offset", "_committed_offset")),
    Part(f"{_CONSUMER}.on_buffer_full", ("self", "tp")),
    Part(f"{_CONSUMER}.on_buffer_drop", ("self", "tp")),
    # Its callers: fetcher, conductor, stream.
    Part("faust.transport.consumer:Fetcher._fetcher.fun", ("self",), ("_drain_messages",)),
    Part("faust.transport.conductor:Conductor._compile_message_handler", ("self",)),
    Part("faust.transport.conductor:Conductor._update_tp_index", ("self", "assigned"), ("_tp_index",)),
    Part(
        "faust.serializers.schemas:Schema.compile",
        ("self", "app", "on_key_decode_error", "on_value_decode_error", "default_propagate"),
        ("loads_key", "loads_value"),
    ),
    # Leaving.
    Part(f"{_CONSUMER}.on_partitions_revoked", ("self", "revoked")),
    Part(f"{_CONSUMER}.wait_empty", ("self",)),
    Part(f"{_CONSUMER}.maybe_wait_for_commit_to_finish", ("self",), ("_commit_fut",)),
    Part(f"{_CONSUMER}.on_stop", ("self",), ("wait_empty",)),
    Part("faust.app.base:App._on_partitions_revoked", ("self", "revoked"), ("on_partitions_revoked",)),
    Part("faust.app.base:App._on_partitions_assigned", ("self", "assigned", "generation_id")),
    Part("faust.app.base:App._stop_consumer", ("self",), ("_stop_fetcher", "_consumer_wait_empty")),
    # The consumer's thread.
    Part(f"{_DRIVER}:AIOKafkaConsumerThread.on_start", ("self",), ("_create_consumer",)),
    Part(f"{_DRIVER}:AIOKafkaConsumerThread.on_thread_stop", ("self",), ("_consumer", "stop")),
    Part("aiokafka:AIOKafkaConsumer.stop", ("self",), ("_client", "close")),
    Part(f"{_DRIVER}:AIOKafkaConsumerThread._create_worker_consumer", ("self", "transport")),
    Part(
        f"{_DRIVER}:AIOKafkaConsumerThread._fetch_records",
        ("self", "consumer", "active_partitions", "timeout", "max_records"),
    ),
    Part(f"{_THREAD}.on_partitions_assigned", ("self", "assigned", "generation_id")),
    Part(f"{_DRIVER}:Consumer._new_consumer_thread", ("self",)),
    Part(f"{_DRIVER}:Producer._settings_extra", ("self",)),
    Part(f"{_DRIVER}:Producer._ensure_producer", ("self",)),
    # Recovery.
    Part(f"{_RECOVERY}._restart_recovery.fun", ("self",)),
    Part(f"{_RECOVERY}._slurp_changelogs.fun", ("self",)),
    Part(f"{_RECOVERY}.on_rebalance", ("self", "assigned", "revoked", "newly_assigned", "generation_id")),
    Part(f"{_RECOVERY}.on_partitions_revoked", ("self", "revoked")),
    Part(f"{_RECOVERY}.on_recovery_completed", ("self", "generation_id"), ("perform_seek", "resume_flow")),
    Part(f"{_RECOVERY}._set_recovery_started", ("self",)),
    Part("faust.tables.manager:TableManager.recovery.fget", ("self",), ("_recovery",)),
    # aiokafka.
    Part(
        "aiokafka:AIOKafkaConsumer.start",
        ("self",),
        ("_fetch_max_wait_ms", "_fetch_min_bytes", "_coordinator", "_fetcher"),
    ),
    Part(f"{_GROUP}._do_heartbeat", ("self",), ("generation", "reset_generation", "request_rejoin")),
    Part(f"{_GROUP}._heartbeat_routine", ("self",), ("_do_heartbeat",)),
    Part(f"{_GROUP}.request_rejoin", ("self",), ("_rejoin_needed_fut",)),
    Part(f"{_FETCHER}.fetched_records", ("self", "partitions", "timeout", "max_records")),
    Part(
        f"{_FETCHER}._get_actions_per_node",
        ("self", "assignment"),
        ("_fetch_max_wait_ms", "_fetch_min_bytes"),
    ),
    Part("aiokafka:AIOKafkaConsumer.end_offsets", ("self", "partitions"), ("_fetcher", "_request_timeout_ms")),
    Part("aiokafka.client:AIOKafkaClient.send", ("self", "node_id", "request", "group")),
    Part("aiokafka.client:AIOKafkaClient.force_metadata_update", ("self",)),
    Part("aiokafka.cluster:ClusterMetadata.leader_for_partition", ("self", "partition")),
    Part(
        "aiokafka.protocol.fetch:FetchRequest.__init__",
        (
            "self",
            "max_wait_time",
            "min_bytes",
            "max_bytes",
            "isolation_level",
            "topics",
            "rack_id",
        ),
    ),
    Part(
        f"{_FETCHER}._proc_fetch_request",
        ("self", "assignment", "node_id", "request"),
        ("topics", "MemoryRecords"),
    ),
    Part("aiokafka.consumer.fetcher:PartitionRecords._unpack_records", ("self",), ("validate_crc",)),
    Part(
        "aiokafka.consumer.fetcher:PartitionRecords.__init__",
        (
            "self",
            "tp",
            "records",
            "aborted_transactions",
            "fetch_offset",
            "key_deserializer",
            "value_deserializer",
            "check_crcs",
            "isolation_level",
        ),
        ("_tp", "_records", "_records_iterator", "next_fetch_offset", "_check_crcs", "_isolation_level"),
    ),
    Part("aiokafka.consumer.fetcher:FetchResult.getall", ("self", "max_records"), ("_partition_records",)),
    Part(f"{_SENDER}._send_produce_req", ("self", "node_id", "batches"), ("_in_flight", "_muted_partitions")),
    Part(
        "aiokafka.producer.message_accumulator:MessageAccumulator.add_batch",
        ("self", "builder", "tp", "timeout"),
        ("wait_drain", "KafkaTimeoutError"),
    ),
    Part(f"{_STATE}:Assignment.state_value", ("self", "tp")),
    Part(f"{_STATE}:TopicPartitionState.__init__", ("self", "assignment"), ("highwater", "timestamp")),
    Part(f"{_STATE}:TopicPartitionState.pause", ("self",)),
    Part(f"{_STATE}:TopicPartitionState.resume", ("self",)),
)


_WRAPPED = ("fun", "fget")
"""Attributes under which a service's task and a property hold their function."""


def find(path: str) -> Any:
    """Return the object at *path*; raises `ImportError` or `AttributeError` if there is none."""
    module, _, names = path.partition(":")
    found: Any = import_module(module)
    for name in names.split("."):
        found = getattr(found, name) if name in _WRAPPED else inspect.getattr_static(found, name)
        found = getattr(found, "__func__", found)
    return found


def check_faust() -> None:
    """Return if Faust and aiokafka have every part; raises `UnknownFaustError` with those that are missing."""
    moved = [part.path for part in PARTS if not _is_there(part)]
    version = str(faust.__version__)
    if version.rpartition(".")[0] != TESTED:
        raise UnknownFaustError(f"faust-streaming {version} is installed; session-risk needs {TESTED}.*")
    if moved:
        raise UnknownFaustError(
            f"faust-streaming {version} or the aiokafka beside it lacks private parts that session-risk uses: "
            f"{', '.join(moved)}; install the versions in constraints.txt"
        )


def _is_there(part: Part) -> bool:
    try:
        function = inspect.unwrap(find(part.path))
        parameters = tuple(inspect.signature(function).parameters)
    except (ImportError, AttributeError, TypeError, ValueError):
        return False
    return parameters == part.parameters and set(part.uses) <= _names(function.__code__)


def _names(code: Any) -> set[str]:
    inner = (constant for constant in code.co_consts if inspect.iscode(constant))
    return {*code.co_names, *code.co_freevars}.union(*map(_names, inner))
