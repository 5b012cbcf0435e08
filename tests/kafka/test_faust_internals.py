"""What the edge stands on in Faust and aiokafka has not moved since it was read."""

from __future__ import annotations

import hashlib
import inspect
from unittest.mock import patch

import aiokafka
import faust
import pytest

from pipeline.kafka import faust_internals
from pipeline.kafka.faust_internals import PARTS, Part, UnknownFaustError, check_faust, find

READ = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0"}
"""The releases whose source was read when the edge was written."""

SOURCES = {
    "faust.transport.consumer:Consumer._drain_messages": "44a2500309e8",
    "faust.transport.consumer:Consumer._get_active_partitions": "b24897f3c7af",
    "faust.transport.consumer:Consumer._is_changelog_tp": "88867d75cfe9",
    "faust.transport.consumer:Consumer.__init__": "302410d59e69",
    "faust.transport.consumer:Consumer.ack": "5fcf41cf4515",
    "faust.transport.consumer:Consumer._new_offset": "1d2c7ea89a7a",
    "faust.transport.consumer:Consumer._commit_tps": "a20e230b05ae",
    "faust.transport.consumer:Consumer._commit_offsets": "1a6979904118",
    "aiokafka.producer.sender:Sender._send_produce_req": "aea01ae4b6c7",
    "aiokafka.producer.message_accumulator:MessageAccumulator.add_batch": "5ed1c5b1367a",
    "faust.transport.consumer:Consumer._filter_committable_offsets": "dc5e9baf5d99",
    "faust.transport.consumer:Consumer.perform_seek": "0e8c130ff4b0",
    "faust.transport.consumer:Consumer.on_buffer_full": "c8961679e0bc",
    "faust.transport.consumer:Consumer.on_buffer_drop": "4b57e8a418d5",
    "faust.transport.consumer:Fetcher._fetcher.fun": "68f894f0b577",
    "faust.transport.conductor:Conductor._compile_message_handler": "9fbc0538097a",
    "faust.transport.conductor:Conductor._update_tp_index": "e8e3ac9025ef",
    "faust.serializers.schemas:Schema.compile": "d46eec5ce319",
    "faust.transport.consumer:Consumer.on_partitions_revoked": "d04b7ae72c6f",
    "faust.transport.consumer:Consumer.wait_empty": "e4662fe24f09",
    "faust.transport.consumer:Consumer.maybe_wait_for_commit_to_finish": "d687f63a0b5e",
    "faust.transport.consumer:Consumer.on_stop": "45b1d2210ce2",
    "faust.app.base:App._on_partitions_revoked": "d5c895bbe57d",
    "faust.app.base:App._on_partitions_assigned": "de932b7927db",
    "faust.app.base:App._stop_consumer": "55854a5de12c",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_start": "38b4e8bd1e10",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": "c2701bfc3e6f",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": "39a2c6c79fc1",
    "faust.transport.consumer:ConsumerThread.on_partitions_assigned": "e59e8dda4372",
    "faust.transport.drivers.aiokafka:Consumer._new_consumer_thread": "0870ec53dea7",
    "faust.transport.drivers.aiokafka:Producer._settings_extra": "a4c7bc41b638",
    "faust.transport.drivers.aiokafka:Producer._ensure_producer": "5592a4bbdf25",
    "faust.tables.recovery:Recovery._restart_recovery.fun": "6bd8a8558a2d",
    "faust.tables.recovery:Recovery._slurp_changelogs.fun": "7825c7e50f76",
    "faust.tables.recovery:Recovery.on_rebalance": "aa4d997a1795",
    "faust.tables.recovery:Recovery.on_partitions_revoked": "161b5e997f7c",
    "faust.tables.recovery:Recovery.on_recovery_completed": "6ef567acf072",
    "faust.tables.recovery:Recovery._set_recovery_started": "bcfebf81ae13",
    "faust.tables.manager:TableManager.recovery.fget": "f0bf5de78b4c",
    "aiokafka:AIOKafkaConsumer.start": "2f1ba7044332",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._do_heartbeat": "dc1d6632aaa6",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._heartbeat_routine": "61d010289522",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.request_rejoin": "f70a261c91c3",
    "aiokafka.consumer.fetcher:Fetcher.fetched_records": "be4348896b9b",
    "aiokafka.consumer.subscription_state:Assignment.state_value": "183fea82ef48",
    "aiokafka.consumer.subscription_state:TopicPartitionState.__init__": "f0b391da1b87",
    "aiokafka.consumer.subscription_state:TopicPartitionState.pause": "6c91801ebcc2",
    "aiokafka.consumer.subscription_state:TopicPartitionState.resume": "8aecb5a6164f",
    "aiokafka:AIOKafkaConsumer.end_offsets": "f4b190785818",
    "aiokafka.client:AIOKafkaClient.send": "246b277687d7",
    "aiokafka.client:AIOKafkaClient.force_metadata_update": "cb7befef21c8",
    "aiokafka.cluster:ClusterMetadata.leader_for_partition": "802f7e4f021d",
    "aiokafka.protocol.fetch:FetchRequest.__init__": "f31b6b74cc94",
    "aiokafka.consumer.fetcher:Fetcher._proc_fetch_request": "59bf948fff47",
    "aiokafka.consumer.fetcher:PartitionRecords._unpack_records": "b803e6d46480",
    "aiokafka.consumer.fetcher:PartitionRecords.__init__": "8ec1c2ae6ea1",
    "aiokafka.consumer.fetcher:Fetcher._get_actions_per_node": "1dab2cf937d1",
    "aiokafka.consumer.fetcher:FetchResult.getall": "3e717e30de50",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_thread_stop": "8dfc004e258b",
    "aiokafka:AIOKafkaConsumer.stop": "bc5da9c98595",
}
"""The start of the SHA-256 of the source of each part, in these releases."""


def test_the_installed_releases_are_those_that_were_read() -> None:
    assert {"faust-streaming": faust.__version__, "aiokafka": aiokafka.__version__} == READ


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.path)
def test_no_part_has_changed_since_it_was_read(part: Part) -> None:
    source = inspect.getsource(inspect.unwrap(find(part.path)))
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    assert SOURCES[part.path] == digest, "read what changed, make the edge fit, and only then write the new digest"


def test_every_part_has_a_digest_and_no_digest_is_left_over() -> None:
    assert sorted(SOURCES) == sorted(part.path for part in PARTS)


def test_the_installed_faust_is_accepted() -> None:
    check_faust()


@pytest.mark.parametrize(
    "moved",
    [
        Part("faust.transport.consumer:Consumer._gone", ("self",)),
        Part("faust.gone:Consumer", ()),
        Part("faust.transport.consumer:Consumer.ack", ("self", "message", "more")),
        Part("faust.transport.consumer:Consumer.ack", ("self", "message"), ("_gone",)),
    ],
    ids=["the method is gone", "the module is gone", "it takes something else", "it uses something else"],
)
def test_a_part_that_moved_is_named_before_anything_starts(moved: Part) -> None:
    with (
        patch.object(faust_internals, "PARTS", (*PARTS, moved)),
        pytest.raises(UnknownFaustError) as exception_info,
    ):
        check_faust()
    assert moved.path in str(exception_info.value)
    assert "constraints.txt" in str(exception_info.value)


def test_another_minor_release_of_faust_is_refused() -> None:
    with (
        patch.object(faust, "__version__", "0.16.0"),
        pytest.raises(UnknownFaustError, match=r"0\.16\.0 is installed"),
    ):
        check_faust()
