"""CloudTrail files: all ways of packing, duplicates, damaged, empty and missing files."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from pipeline.sources import Counts, UnreadableLogError
from pipeline.sources.cloudtrail import convert
from pipeline.sources.ground_truth import Truth
from tests.support.cloudtrail_records import NOON_MS, Convert, converted, record

__all__ = ["converted"]  # a fixture


def test_an_event_in_two_files_is_one_event_with_its_label(tmp_path: Path) -> None:
    for name in ("aws.discovery.ec2-look-around.json", "1111_CloudTrail.json"):
        (tmp_path / name).write_text(json.dumps([record(), record(second=5)]))
    conversion = convert([tmp_path])

    assert conversion.counts == Counts(4, {"auth-events": 1, "api-calls": 2}, {"duplicate": 2})
    assert conversion.truth == [
        Truth(
            tenant="aws-111122223333",
            session_id="AKIAANA",
            label="attack",
            family="ec2-look-around",
            started_at=NOON_MS,
            ended_at=NOON_MS + 5000,
        )
    ]


TWO = [record(), record(second=1)]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"Records": TWO}).encode(),
        json.dumps(TWO, indent=1).encode(),
        b"\xef\xbb\xbf" + json.dumps(TWO).encode(),
        "\n\n".join(map(json.dumps, TWO)).encode(),
        "\n".join(json.dumps({"Records": [item]}) for item in TWO).encode(),
        gzip.compress(json.dumps({"Records": TWO}).encode(), mtime=0),
        gzip.compress("\n".join(map(json.dumps, TWO)).encode(), mtime=0),
    ],
)
def test_every_way_to_pack_records_reads_the_same(tmp_path: Path, converted: Convert, content: bytes) -> None:
    log = tmp_path / "packed"
    log.write_bytes(content)

    assert convert([log]) == converted(*TWO)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"Records": [\n  {"eventID": }]}', "line 2, column 15"),
        (b'{"eventID": "1"}\n{"eventID": "2"', "line 2"),
        (b"\xff\xfe", "byte 0"),
        (gzip.compress(b"[]" * 100, mtime=0)[:-9], "gzip"),
        (b'{"Records": 7}', "Records"),
        (b'{"digestS3Object": "x"}', "top level"),
        (b"7", "Records"),
        (b"[" * 100_000, "content"),
    ],
)
def test_a_file_that_is_no_log_is_named_with_the_place(tmp_path: Path, content: bytes, place: str) -> None:
    log = tmp_path / "broken.json"
    log.write_bytes(content)

    with pytest.raises(UnreadableLogError, match=re.escape(f"{log}, {place}: ")):
        convert([log])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableLogError, match=r"gone\.json, opening: No such file"):
        convert([tmp_path / "gone.json"])


def test_an_empty_log_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_bytes(b"")

    assert convert([tmp_path]).counts == Counts(0, {"auth-events": 0, "api-calls": 0}, {})
