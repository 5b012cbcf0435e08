"""Session rows of other versions: what both versions have under the same name survives, upgrade and rollback alike.

`tests/data/session_rows` has changelog rows that earlier versions wrote, of two digests and without layout records,
and beside each row what was in it. These files are never changed.
"""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

import aiokafka
import numpy as np
import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic_core import to_json

from models.state.codec import VERSION, checksums, decode_all, encode
from models.state.layout import Field, Flag, Layout, earlier_layouts, layout_of, read_by_name, read_record
from models.state.table import ENDED, HAS_RISK_STATE, PADDING, REVOKED, ROW, Subject, UnreadableRow, row_type
from pipeline.assembly import processor_specs
from pipeline.control.active import ActiveConfig
from pipeline.decisions.risk_state import SessionRiskState
from pipeline.detections import DETECTION_IDS, ORDER, digest_of_order
from pipeline.kafka.changelog import UnreadableChangelogError, changelog_topic
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import EmbeddedBroker
from pipeline.kafka.fencing import Lease
from pipeline.kafka.partition_tasks import TaskManager, TaskResources
from pipeline.kafka.producer import BatchWriter
from pipeline.kafka.recovery import PartitionRestorer
from pipeline.processing.observer import NullObserver
from pipeline.processing.processor import ChangelogRow
from pipeline.sessions.processor import Options, SessionProcessor
from pipeline.sessions.state_store import LAYOUT_RECORD, SessionState, row_key

FOLDER = Path(__file__).parents[1] / "data" / "session_rows"
FILES = pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)
OWN = layout_of(ROW)
LATER = {"former_network": [0, 0], "own_client": [0, 0, 0]}
"""Columns that no file has, with their initial values."""
FORMER = {
    "proved": "held_at_step_up",
    "answered": "cleared_until",
    "said": "last_reported",
    "said_at": "reported_at",
    "muted": "suppressed_until",
    "told": "observed_text",
}


class Stored(NamedTuple):
    """A row of a file: key, value, what its columns were, and its side table in the names of today."""

    key: bytes
    value: bytes
    columns: dict[str, Any]
    side: dict[str, Any] | None


def stored_in(file: Path) -> list[Stored]:
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return [
        Stored(base64.b64decode(row["key"]), base64.b64decode(row["value"]), row["columns"], _renamed(row["side"]))
        for row in rows
    ]


def _renamed(side: Any) -> Any:
    if isinstance(side, dict):
        return {FORMER.get(name, name): _renamed(value) for name, value in side.items()}
    return side


def columns_of(row: Any) -> dict[str, Any]:
    """A whole row by its columns, as a file has them."""
    columns = {name: row[name].tolist() for name in row.dtype.names if name != PADDING}
    columns["mask"] = columns["mask"][0]
    return columns


def side_of(state: SessionRiskState | None) -> dict[str, Any] | None:
    return None if state is None else json.loads(state.encode())


def of_side(side: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if side is None else json.loads(SessionRiskState.decode(to_json(side)).encode())


# --- Rows of earlier versions -----------------------------------------------------------------------------------------


@FILES
def test_rows_of_an_earlier_version_are_decoded_whole(file: Path) -> None:
    rows = stored_in(file)

    decoded = decode_all([row.value for row in rows], earlier_layouts())

    assert [columns_of(row) for row in decoded.rows] == [{**LATER, **row.columns} for row in rows]


@FILES
def test_a_processor_restores_the_sessions_of_an_earlier_version_with_their_risk_state(file: Path) -> None:
    rows = stored_in(file)
    state = SessionState(ROW)

    state.restore([(row.key, row.value) for row in rows])
    state.on_restored()

    assert_restored(state, rows)
    assert max(len(row.side or {}) for row in rows) > 8


def assert_restored(state: SessionState, rows: list[Stored]) -> None:
    """That *state* has what the file says, whole rows and whole side tables."""
    assert len(state.table) == len(rows)
    for stored in rows:
        names = Subject.unpack(stored.key)
        place = state.table.find(names.tenant, names.session_id)
        assert columns_of(state.table.rows[place]) == under_another_order(stored)
        assert side_of(state.risk_states.get(place)) == stored.side == of_side(stored.side)


def under_another_order(stored: Stored) -> dict[str, Any]:
    """Its columns where detections have come since: what held is found anew, at once where there is risk state."""
    open_case = {"wake_at": 1} if stored.columns["flags"] & (HAS_RISK_STATE | REVOKED | ENDED) == HAS_RISK_STATE else {}
    return {**LATER, **stored.columns, "mask": 0, **open_case}


# --- Rows of newer versions -------------------------------------------------------------------------------------------


def newer_layout() -> Layout:
    """One more counter, signal, posture flag, kind of principal and word of the mask, all in the middle."""
    fields, offset = [Field("sums.added_10m", "<f4", 0)], 4
    for field in OWN.fields:
        kind = "<u4" if field.name == "novelty" else "<f8" if field.name == "sums.calls_1m" else field.type
        fields.append(Field(field.name, kind, offset))
        offset += np.dtype(kind).itemsize
        if field.name == "mask.0":
            fields.append(Field("mask.1", "<u8", offset))
            offset += 8
    signals = [Flag(f.name, f.shift + (f.shift > 2), 1) for f in OWN.flags["signals"]]
    posture = [Flag(f.name, f.shift + 2 * (f.shift > 5), f.width) for f in OWN.flags["posture"]]
    flags = {
        **OWN.flags,
        "signals": (*signals[:3], Flag("added", 3, 1), *signals[3:]),
        "posture": (*posture, Flag("added", 6, 2)),
    }
    kinds = (OWN.codes["kind"][0], "robot", *OWN.codes["kind"][1:])
    return Layout(offset + 3, tuple(fields), flags, {**OWN.codes, "kind": kinds})


NEWER = newer_layout()
NEWER_ORDER = digest_of_order((*DETECTION_IDS, "added"))


def in_layout(layout: Layout, row: Any) -> bytes:
    """The bytes of *row* in a *layout* that has all its fields, with something in each that it has besides."""
    stored = np.full(layout.row_bytes, 0xA5, np.uint8).view(layout.flat)
    flat = np.array([row], ROW).view(OWN.flat)
    for field in OWN.fields:
        value = flat[field.name][0]
        if layout.flags.get(field.name, ()) != OWN.flags.get(field.name, ()):
            moved = {flag.name: flag for flag in layout.flags[field.name]}
            bits = [
                (int(value) >> flag.shift & 2**flag.width - 1) << moved[flag.name].shift
                for flag in OWN.flags[field.name]
            ]
            value = sum(bits) | sum(
                (2**flag.width - 1) << flag.shift for name, flag in moved.items() if name == "added"
            )
        if layout.codes.get(field.name, ()) != OWN.codes.get(field.name, ()):
            value = layout.codes[field.name].index(OWN.codes[field.name][int(value)])
        stored[field.name] = value
    return stored.tobytes()


def value_in(layout: Layout, row: Any, names: bytes, side: bytes = b"", order: bytes = ORDER) -> bytes:
    """A changelog value as a version with another *layout* writes it."""
    head = bytes([VERSION]) + layout.digest + order + len(names).to_bytes(2, "little") + len(side).to_bytes(4, "little")
    value = head + in_layout(layout, row) + names + side + bytes(4)
    return value[:-4] + int(checksums([value])[0]).to_bytes(4, "little")


def full_rows(count: int) -> NDArray[Any]:
    """Rows with another value in every column."""
    rng = np.random.default_rng(count)
    rows = np.frombuffer(rng.integers(1, 255, count * ROW.itemsize, np.uint8).tobytes(), ROW).copy()
    for name in ROW.names or ():
        if ROW[name].base.kind == "f":
            rows[name] = rng.random(rows[name].shape).astype(np.float32)
    rows["kind"], rows["network_type"], rows["attestation"] = rng.integers(1, 5, (3, count))
    rows["posture"] &= 2 ** max(flag.shift + flag.width for flag in OWN.flags["posture"]) - 1
    rows["signals"] &= np.uint64(2 ** len(OWN.flags["signals"]) - 1)
    rows["flags"] &= 7
    return rows


def written_by_a_newer_version(count: int) -> tuple[NDArray[Any], list[ChangelogRow]]:
    """Rows, and the changelog of a version with one more of everything."""
    rows = full_rows(count)
    names = [Subject("acme", f"s-{number}", "ana", "phone-1").pack() for number in range(count)]
    side = b'{"epoch":3,"added":{"any":["thing"]}}'
    values = [value_in(NEWER, row, name, side, NEWER_ORDER) for row, name in zip(rows, names, strict=True)]
    record = (LAYOUT_RECORD + NEWER.digest.hex().encode(), NEWER.record)
    return rows, [record, *zip(map(row_key, names), values, strict=True)]


def assert_rolled_back(state: SessionState, rows: NDArray[Any]) -> None:
    """That all but the bits of detections, whose order is another, is as the newer version had it."""
    assert len(state.table) == len(rows)
    expected = rows.copy()
    expected["mask"] = 0
    expected["wake_at"][expected["flags"] == 1] = 1
    for number, row in enumerate(expected):
        place = state.table.find("acme", f"s-{number}")
        assert columns_of(state.table.rows[place]) == columns_of(row)
        assert state.risk_states[place] == SessionRiskState(epoch=3)


@pytest.mark.parametrize("place", [0, 3, 9], ids=["first", "in between", "last"])
@pytest.mark.parametrize("at_once", [1, 4, 99])
def test_rows_with_one_more_counter_signal_flag_kind_and_detection_are_restored(place: int, at_once: int) -> None:
    rows, (record, *changelog) = written_by_a_newer_version(9)
    changelog.insert(place, record)
    state = SessionState(ROW)

    for first in range(0, len(changelog), at_once):
        state.restore(changelog[first : first + at_once])
    state.on_restored()

    assert_rolled_back(state, rows)


def test_of_a_session_that_waits_for_its_layout_the_newest_row_counts() -> None:
    rows, (record, *changelog) = written_by_a_newer_version(3)
    state = SessionState(ROW)
    own = encode(rows[:1], [Subject("acme", "s-0", "ana", "phone-1").pack()], [b'{"epoch":4}'], ORDER)

    state.restore(changelog)
    state.restore([own[0], (changelog[1][0], None)])
    state.restore([record])
    state.on_restored()

    assert sorted(state.table.names[row] for row in state.table.live()) == [
        Subject("acme", name, "ana", "phone-1").pack() for name in ("s-0", "s-2")
    ]
    assert state.risk_states[state.table.find("acme", "s-0")].epoch == 4


def test_rows_whose_layout_nobody_recorded_are_refused_when_all_is_read() -> None:
    _, changelog = written_by_a_newer_version(2)
    state = SessionState(ROW)
    state.restore(changelog[1:])

    with pytest.raises(UnreadableRow, match=rf"layout record is missing: 2 of layout {NEWER.digest.hex()}"):
        state.on_restored()


# --- Layout records ---------------------------------------------------------------------------------------------------


def test_the_layout_is_recorded_once_before_the_first_row_of_a_partition() -> None:
    state = SessionState(ROW)
    row = state.table.add(Subject("acme", "s-1"))
    state.table.rows["started_at"][row] = 1

    first, second = state.encode([row]), state.encode([row])

    assert [key for key, _ in first] == [LAYOUT_RECORD + OWN.digest.hex().encode(), b"acme\xffs-1"]
    assert [key for key, _ in second] == [b"acme\xffs-1"]
    assert read_record(first[0][1] or b"", OWN.digest) == OWN
    assert state.encode([]) == []

    other = SessionState(ROW)
    other.restore(first)
    other.on_restored()
    assert [key for key, _ in other.encode([0])] == [b"acme\xffs-1"]


def test_the_record_of_a_layout_that_no_row_has_any_more_is_deleted() -> None:
    _, (record, *changelog) = written_by_a_newer_version(1)
    unused, used = SessionState(ROW), SessionState(ROW)
    unused.restore([record])
    used.restore([record, *changelog])
    for state in (unused, used):
        state.table.rows["started_at"][state.table.add(Subject("acme", "s-9"))] = 1

    assert [key for key, value in unused.encode([0]) if value is None] == [record[0]]
    assert [key for key, value in used.encode([0]) if value is None] == []


SPOILT_RECORDS: dict[str, tuple[Any, str]] = {
    "no JSON": (b"{", "describes no row"),
    "no object": (b"[]", "describes no row"),
    "nested without end": (b"[" * 60_000, "describes no row"),
    "no fields": ({**json.loads(OWN.record), "fields": []}, "fields must be there"),
    "a field twice": ({**json.loads(OWN.record), "fields": [["a", "<u4", 0], ["a", "<u4", 4]]}, "different names"),
    "a field beyond the row": ({**json.loads(OWN.record), "fields": [["a", "<u8", 494]]}, "a ends after the row"),
    "a field before the row": ({**json.loads(OWN.record), "fields": [["a", "<u8", -1]]}, "from 0 to 496"),
    "an object as type": ({**json.loads(OWN.record), "fields": [["a", "|O", 0]]}, "a has the type"),
    "a long name": ({**json.loads(OWN.record), "fields": [["a" * 101, "<u4", 0]]}, "short text"),
    "a row of any size": ({**json.loads(OWN.record), "row_bytes": 2**40}, "from 0 to 65536"),
    "a shift beyond a word": ({**json.loads(OWN.record), "flags": {"known": [["a", 64, 1]]}}, "from 0 to 63"),
    "too large": (b" " * 65_537, "has 65537 bytes, more than 65536"),
}


@pytest.mark.parametrize(("described", "complaint"), SPOILT_RECORDS.values(), ids=SPOILT_RECORDS.keys())
def test_a_layout_record_that_describes_no_row_is_refused(described: Any, complaint: str) -> None:
    record = described if isinstance(described, bytes) else json.dumps(described).encode()
    digest = Layout(1, (), {}, {})
    digest.__dict__["record"] = record

    with pytest.raises(UnreadableRow, match=complaint):
        SessionState(ROW).restore([(LAYOUT_RECORD + digest.digest.hex().encode(), record)])


def test_a_layout_record_under_another_digest_is_refused() -> None:
    with pytest.raises(UnreadableRow, match="does not fit its digest: it was cut or spoilt"):
        SessionState(ROW).restore([(LAYOUT_RECORD + b"00000000", OWN.record)])
    with pytest.raises(UnreadableRow, match="under a key that is none"):
        SessionState(ROW).restore([(LAYOUT_RECORD + b"wrong", OWN.record)])


# --- Any layout -------------------------------------------------------------------------------------------------------


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Any choice of today's fields in any order and at any distance, with any fields besides."""
    kept = draw(st.lists(st.sampled_from(OWN.fields), unique=True))
    added = draw(st.lists(st.sampled_from([Field(f"added.{n}", kind, 0) for n, kind in enumerate(("<f8", "|u1"))])))
    fields, offset = [], 0
    for field in draw(st.permutations([*kept, *dict.fromkeys(added)])):
        offset += draw(st.integers(0, 3))
        fields.append(field._replace(offset=offset))
        offset += np.dtype(field.type).itemsize
    return Layout(offset + 1, tuple(fields or [Field("added", "|u1", 0)]), OWN.flags, OWN.codes)


@given(layouts(), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_whatever_fields_two_layouts_share_survive_and_the_others_are_initial(other: Layout, count: int) -> None:
    rows = full_rows(count)
    flat = rows.view(OWN.flat)
    stored = np.full((count, other.row_bytes), 0x5A, np.uint8)
    shared = [field.name for field in other.fields if field.name in OWN.flat.names]  # type: ignore[operator]
    for name in shared:
        stored.view(other.flat).reshape(-1)[name] = flat[name]

    again = read_by_name(stored, read_record(other.record, other.digest), ROW).view(OWN.flat)

    for field in OWN.fields:
        expected = flat[field.name] if field.name in shared else np.zeros(count, field.type)
        assert again[field.name].tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("name", "kind", "value", "expected"),
    [
        ("sessions_seen", "|u1", 200, 200),
        ("sessions_seen", "<u4", 70_000, 65_535),
        ("sessions_seen", "<i4", -5, 0),
        ("started_at", "<u4", 2**32 - 1, 2**32 - 1),
        ("started_at", "<u8", 2**64 - 1, 2**63 - 1),
        ("applied.api-calls", "<i4", -7, -7),
        ("place_near_km", "<f8", 2.5, 2.5),
        ("sums.calls_1h", "<f4", 0.25, 0.25),
        ("sums.calls_1h", "<u2", 9, 9.0),
        ("proved", "|b1", True, 1),
    ],
)
def test_a_column_of_another_type_keeps_its_value_as_far_as_the_type_of_today_can(
    name: str, kind: str, value: float, expected: float
) -> None:
    other = Layout(np.dtype(kind).itemsize, (Field(name, kind, 0),), {}, {})

    (row,) = read_by_name(np.array([[value]], kind).view(np.uint8), other, ROW).view(OWN.flat)

    assert row[name] == expected


def test_a_column_that_would_lose_fractions_is_refused_with_its_name() -> None:
    other = Layout(4, (Field("novelty", "<f4", 0),), {}, {})

    with pytest.raises(UnreadableRow, match=r"where novelty is float32: this worker has it as uint16"):
        read_by_name(np.zeros((1, 4), np.uint8), other, ROW)


def test_a_code_that_is_not_known_here_becomes_the_one_for_not_known() -> None:
    other = Layout(1, (Field("network_type", "|u1", 0),), {}, {"network_type": ("", "satellite", "wifi")})

    rows = read_by_name(np.array([[0], [1], [2], [3], [255]], np.uint8), other, ROW)

    assert rows["network_type"].tolist() == [0, 0, 1, 0, 0]


def test_rows_of_a_table_with_more_detections_have_more_words_and_are_read_by_one_with_fewer() -> None:
    wide = np.zeros(1, row_type(2))
    wide["mask"], wide["seen_at"] = [[5, 6]], 7
    names = [Subject("acme", "s-1").pack()]
    ((_, value),) = encode(wide, names, [b""], ORDER)

    there = {layout_of(row_type(2)).digest: layout_of(row_type(2))}
    (narrow,) = decode_all([value], there).rows
    ((_, back),) = encode(np.array([narrow]), names, [b""], ORDER)
    (again,) = decode_all([back], {OWN.digest: OWN}, row_type(2)).rows

    assert (narrow["mask"].tolist(), again["mask"].tolist(), int(again["seen_at"])) == ([5], [5, 0], 7)


# --- Through Kafka ----------------------------------------------------------------------------------------------------


def restored_from(changelog: list[ChangelogRow]) -> SessionState:
    """The sessions of a partition that a worker takes over."""

    async def story() -> SessionState:
        (spec,) = (spec for spec in processor_specs(ActiveConfig(), Options()) if spec.name == "session")
        topic = changelog_topic("app", spec.name)
        with EmbeddedBroker() as broker:
            broker.create([topic])
            async with aiokafka.AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
                outbox = BatchWriter(lambda: producer)
                await outbox.append(topic, 0, changelog)
                tasks, lease = TaskManager(NullObserver(), drain_seconds=1.0), Lease(60.0)
                lease.grant(1)
                resources = TaskResources(outbox, asyncio.Semaphore(8), 512, NullObserver(), lambda error: None)
                connection = Connection(broker.bootstrap, embedded=True)
                take_over = PartitionRestorer("app", connection, [spec], tasks, lease, resources)
                await take_over([TP(name, 0) for name in (*spec.sources, topic)], 1)
                (task,) = tasks
                await tasks.drain()
                assert isinstance(task.processor, SessionProcessor)
                return task.processor.state

    return asyncio.run(story())


@FILES
def test_a_worker_takes_over_what_an_earlier_version_wrote(file: Path) -> None:
    rows = stored_in(file)

    assert_restored(restored_from([(row.key, row.value) for row in rows]), rows)


def test_a_worker_that_is_rolled_back_takes_over_what_the_newer_version_wrote() -> None:
    rows, changelog = written_by_a_newer_version(9)

    assert_rolled_back(restored_from(changelog), rows)


def test_a_worker_says_where_a_layout_record_is_missing_and_what_to_do() -> None:
    _, changelog = written_by_a_newer_version(2)

    with pytest.raises(UnreadableChangelogError) as refused:
        restored_from(changelog[1:])

    assert str(refused.value).startswith(
        "app-session-state-changelog, partition 0: rows whose layout record is missing: 2 of layout "
        f"{NEWER.digest.hex()}. Run the version of session-risk that wrote it. Or start with empty state"
    )
