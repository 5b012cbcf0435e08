"""Recordings are read as written, merged by event time, never written in part; damage is reported."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.offline.replay import recording
from pipeline.offline.replay.recording import INPUT_TOPICS, InputRecord, RecordingError
from pipeline.offline.simulation import simulate
from pipeline.sources.ground_truth import Truth
from schemas.topics import TOPICS

AUTH, DEVICE, API = INPUT_TOPICS[:3]


def _file(directory: Path, topic: str, *lines: bytes) -> Path:
    path = directory / f"{topic}.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def _at(time: int, name: str = "") -> bytes:
    return json.dumps({"event_id": name, "occurred_at": time}).encode()


def _read(directory: Path) -> list[tuple[str, int, bytes, int]]:
    """The lines of a recording, which all have no headers."""
    found = list(recording.read(directory))
    assert {record.tenants for record in found} <= {()}
    return [(record.topic, record.line, record.value, record.occurred_at) for record in found]


def test_the_topics_of_a_recording_are_topics() -> None:
    assert set(INPUT_TOPICS) <= set(TOPICS)
    assert {topic.name for topic in TOPICS.values() if topic.direction == "input"} <= set(INPUT_TOPICS)


@pytest.mark.parametrize("compression", recording.SUFFIXES.values())
def test_what_was_written_is_read_back(tmp_path: Path, compression: recording.Compression) -> None:
    simulation = simulate(seed=1, hours=1, principals=8, noise=0)
    written: dict[str, list[dict[str, Any]]] = {topic: [] for topic in INPUT_TOPICS}

    with recording.write(tmp_path / "new" / "here", compression) as writer:
        for topic, event in simulation:
            writer.event(topic, event)
            written[topic].append(event)
        for row in simulation.truth:
            writer.truth(row)

    found: dict[str, list[dict[str, Any]]] = {topic: [] for topic in INPUT_TOPICS}
    times = []
    for topic, line, value, at, _ in recording.read(tmp_path / "new" / "here"):
        found[topic].append(json.loads(value))
        times.append(at)
        assert (line, at) == (len(found[topic]), found[topic][-1]["occurred_at"])
    assert found == written
    assert times == sorted(times)
    assert recording.read_truth(tmp_path / "new" / "here") == simulation.truth


@pytest.mark.parametrize("compression", recording.SUFFIXES.values())
def test_the_same_events_make_the_same_bytes(tmp_path: Path, compression: recording.Compression) -> None:
    for name in ("one", "two"):
        with recording.write(tmp_path / name, compression) as writer:
            for time in range(1000):
                writer.line(AUTH, _at(time))

    (path,), (two,) = ((tmp_path / name).iterdir() for name in ("one", "two"))
    assert path.name == two.name
    assert path.read_bytes() == two.read_bytes()


def test_at_the_same_time_sign_ins_come_before_telemetry_before_calls(tmp_path: Path) -> None:
    for topic in reversed(INPUT_TOPICS):
        _file(tmp_path, topic, _at(5), _at(6))

    found = [(topic, at) for topic, _, _, at, _ in recording.read(tmp_path)]

    assert found == [(topic, 5) for topic in INPUT_TOPICS] + [(topic, 6) for topic in INPUT_TOPICS]


@given(st.lists(st.lists(st.integers(0, 20)).map(sorted), min_size=3, max_size=3))
def test_reading_is_a_stable_sort_of_all_files(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[int]]
) -> None:
    directory = tmp_path_factory.mktemp("recording")
    for topic, times in zip(INPUT_TOPICS, files, strict=False):
        _file(directory, topic, *map(_at, times))

    lines = [
        InputRecord(topic, line, _at(at), at)
        for topic, times in zip(INPUT_TOPICS, files, strict=False)
        for line, at in enumerate(times, start=1)
    ]
    assert list(recording.read(directory)) == sorted(lines, key=lambda record: record.occurred_at)


def test_a_line_without_a_time_gets_that_of_the_line_before(tmp_path: Path) -> None:
    broken = (b"not json", b'{"occurred_at": "soon"}', b'{"occurred_at": 1.5}', b"\xff\xfe")
    _file(tmp_path, AUTH, b"{", _at(10), *broken, _at(30))
    _file(tmp_path, API, _at(20))

    assert _read(tmp_path) == [
        (AUTH, 1, b"{", 0),
        (AUTH, 2, _at(10), 10),
        *((AUTH, number, line, 10) for number, line in enumerate(broken, start=3)),
        (API, 1, _at(20), 20),
        (AUTH, 7, _at(30), 30),
    ]


def test_a_line_from_the_far_future_does_not_hold_back_its_file(tmp_path: Path) -> None:
    _file(tmp_path, AUTH, _at(10), _at(253402300799000), _at(30), _at(25), _at(50))
    _file(tmp_path, API, _at(20), _at(40))

    assert [(topic, line) for topic, line, _, _ in _read(tmp_path)] == [
        (AUTH, 1),
        (API, 1),
        (AUTH, 2),
        (AUTH, 3),
        (AUTH, 4),
        (API, 2),
        (AUTH, 5),
    ]


def test_a_line_with_a_time_of_arrival_is_replayed_then_whatever_its_event_time(tmp_path: Path) -> None:
    fast, slow = (b'{"occurred_at":%d,"recorded_at":%d}' % times for times in ((9_000, 20), (3, 30)))
    _file(tmp_path, "device-telemetry", _at(10), fast, slow, _at(40))

    assert [at for *_, at in _read(tmp_path)] == [10, 20, 30, 40]


def test_blank_lines_are_left_out_but_counted(tmp_path: Path) -> None:
    (tmp_path / f"{AUTH}.jsonl").write_bytes(b"\n" + _at(1) + b"\r\n  \n" + _at(2))

    assert _read(tmp_path) == [(AUTH, 2, _at(1), 1), (AUTH, 4, _at(2), 2)]


def test_a_line_too_long_to_hold_is_cut_and_the_next_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MAX_LINE_BYTES", 50)
    _file(tmp_path, AUTH, _at(1), b"x" * 5000, _at(2))

    assert _read(tmp_path) == [(AUTH, 1, _at(1), 1), (AUTH, 2, b"x" * 50, 1), (AUTH, 3, _at(2), 2)]


def test_when_writing_fails_nothing_is_left(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with recording.write(tmp_path) as writer:
            writer.event(AUTH, {"occurred_at": 1})
            assert [path.name for path in tmp_path.iterdir()] == [".auth-events.jsonl.part"]
            writer.event(API, {"occurred_at": 1, "latitude": float("nan")})

    with pytest.raises(ValueError, match="not JSON compliant"):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_a_recording_is_not_written_over_another(tmp_path: Path) -> None:
    _file(tmp_path, API, _at(1))

    with pytest.raises(RecordingError, match=r"already has api-calls\.jsonl"), recording.write(tmp_path):
        pytest.fail("the block is never entered")


@pytest.mark.parametrize("topic", ["", "../auth-events", "Auth", "a b"])
def test_a_name_that_could_leave_the_directory_is_refused(tmp_path: Path, topic: str) -> None:
    with pytest.raises(RecordingError, match="cannot be the name of a topic"), recording.write(tmp_path) as writer:
        writer.line(topic, b"{}")


def test_a_value_with_a_line_break_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be one line"), recording.write(tmp_path) as writer:
        writer.line(AUTH, b"{\n}")


def test_a_directory_without_a_recording_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"has no recording: expected auth-events, device-telemetry"):
        recording.read(tmp_path)


def test_two_files_of_one_topic_are_not_guessed_between(tmp_path: Path) -> None:
    _file(tmp_path, AUTH, _at(1))
    (tmp_path / f"{AUTH}.jsonl.gz").write_bytes(b"")

    with pytest.raises(RecordingError, match=r"auth-events\.jsonl and auth-events\.jsonl\.gz: remove all but one"):
        recording.read(tmp_path)


@pytest.mark.parametrize("compression", ["gz", "zst"])
@pytest.mark.parametrize("cut", [1, 2000])
def test_a_file_cut_short_is_named_and_its_end_not_taken_for_the_end(
    tmp_path: Path, compression: recording.Compression, cut: int
) -> None:
    with recording.write(tmp_path, compression) as writer:
        for time in range(5000):
            writer.line(AUTH, _at(time, f"{time * 7919 % 10007}"))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-cut])

    with pytest.raises(RecordingError, match=rf"auth-events\.jsonl\.{compression}, after line \d+: cannot be"):
        list(recording.read(tmp_path))


def test_a_file_of_several_parts_is_read_to_the_end(tmp_path: Path) -> None:
    pack = zstandard.ZstdCompressor().compress
    (tmp_path / f"{AUTH}.jsonl.zst").write_bytes(pack(_at(1) + b"\n" + _at(2)) + pack(b"\n" + _at(3)))
    (tmp_path / f"{API}.jsonl.gz").write_bytes(gzip.compress(_at(1) + b"\n") + gzip.compress(_at(3)))

    assert [(topic, at) for topic, _, _, at in _read(tmp_path)] == [
        (AUTH, 1),
        (API, 1),
        (AUTH, 2),
        (AUTH, 3),
        (API, 3),
    ]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"{AUTH}.jsonl{suffix}").write_bytes(_at(1))

    with pytest.raises(RecordingError, match=r"after line 0: cannot be read further"):
        _read(tmp_path)


def test_a_wrong_row_of_truth_is_named(tmp_path: Path) -> None:
    good = Truth(tenant="acme", session_id="s", label="attack", family="mass_read", started_at=1, ended_at=2)
    with recording.write(tmp_path) as writer:
        writer.truth(good)
        writer.line("truth", b'{"tenant": "acme"}')

    with pytest.raises(RecordingError, match=r"truth\.jsonl, line 2: not a row of ground truth"):
        recording.read_truth(tmp_path)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"family": None}, "an attack without a family; name the kind of attack"),
        ({"family": ""}, "family ''; write a text"),
        ({"label": "odd"}, "label 'odd'; write one of benign, attack"),
        ({"started_at": 1.5}, "started_at 1.5; write a whole number of milliseconds"),
        ({"intensity": "loud"}, "intensity 'loud'; write one of low, medium, high, or null"),
    ],
)
def test_a_wrong_value_of_truth_is_named_with_what_to_write(tmp_path: Path, fields: dict[str, Any], wrong: str) -> None:
    row = {"tenant": "acme", "session_id": "s", "label": "attack", "family": "mass_read"}
    with recording.write(tmp_path) as writer:
        writer.line("truth", json.dumps({**row, "started_at": 1, "ended_at": 2, **fields}).encode())

    with pytest.raises(RecordingError, match=rf"truth\.jsonl, line 1: not a row of ground truth: {re.escape(wrong)}"):
        recording.read_truth(tmp_path)


@pytest.mark.parametrize("family", [{}, {"family": None}])
def test_an_honest_session_needs_no_family(tmp_path: Path, family: dict[str, None]) -> None:
    with recording.write(tmp_path) as writer:
        row = {"tenant": "acme", "session_id": "s", "label": "benign", "started_at": 1, "ended_at": 2}
        writer.line("truth", json.dumps({**row, **family}).encode())

    assert [row.family for row in recording.read_truth(tmp_path)] == ["unnamed"]


def test_a_recording_without_truth_says_so(tmp_path: Path) -> None:
    _file(tmp_path, AUTH, _at(1))

    with pytest.raises(RecordingError, match=r"is not labelled: it has no truth\.jsonl"):
        recording.read_truth(tmp_path)


def test_a_file_that_was_begun_when_the_writing_was_interrupted_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = recording._create

    def interrupted(*arguments: Any) -> Any:
        create(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(recording, "_create", interrupted)
    with pytest.raises(KeyboardInterrupt), recording.write(tmp_path / "out") as writer:
        writer.line(AUTH, b"{}")

    assert list((tmp_path / "out").iterdir()) == []
