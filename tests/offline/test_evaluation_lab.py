"""Recordings of real attacks: sessions that are exchanged, and the origin of events in a lab."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import from_json

from models.detectors.base import NoDetector
from pipeline.decisions.policy import Policy
from pipeline.offline.evaluation.play import Model
from pipeline.offline.evaluation.real import Detected, detected_in
from pipeline.offline.evaluation.switches import CLIENT, DETONATED, FAMILY, OWN, origin_of, switched
from pipeline.offline.replay.recording import read, read_truth, write
from schemas.decode import encode
from tests.support.run_processors import Event, topic_of
from tests.support.samples import T0, call


def laboratory(folder: Path, *events: Event) -> Path:
    with write(folder / "lab") as writer:
        for event in sorted(events, key=lambda event: event["occurred_at"]):
            writer.line(topic_of(event), encode(event))
    return folder / "lab"


def working(subject_name: str, number: int, until: float = 100, **fields: Any) -> list[Event]:
    """A call every four seconds, from an address of one's own."""
    fields = {"session_id": subject_name, "principal_id": subject_name, "ip": f"192.0.2.{number}", **fields}
    return [call(at, event_id=f"{subject_name}-{at}", **fields) for at in range(0, int(until), 4)]


@pytest.mark.parametrize("keep_client", [False, True])
def test_from_one_moment_on_two_sessions_have_changed_hands(tmp_path: Path, *, keep_client: bool) -> None:
    lab = laboratory(tmp_path, *working("ana", 1), *working("ben", 2))

    (copy,) = switched(lab, tmp_path, 5, seed=1, keep_client=keep_client)

    began = {row.started_at for row in read_truth(copy)}
    assert [(row.session_id, row.family) for row in read_truth(copy)] == [("ana", FAMILY), ("ben", FAMILY)]
    assert began == {T0 + 48_000}
    addresses = {"ana": "192.0.2.1", "ben": "192.0.2.2"}
    for record in read(copy):
        event = from_json(record.value)
        origin = event["event_id"].partition("-")[0]
        other = {"ana": "ben", "ben": "ana"}[origin] if event["occurred_at"] >= T0 + 48_000 else origin
        assert (event["session_id"], event["principal_id"]) == (other, other)
        assert event["ip"] == addresses[other if keep_client else origin]
    assert set(OWN).isdisjoint(CLIENT)


def test_a_session_that_nobody_goes_on_in_is_not_taken_over(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, *working("ana", 1, until=84), *working("ben", 2, until=300))

    (copy,) = switched(lab, tmp_path, 5, seed=1)

    by_key = {row.session_id: (row.family, row.started_at) for row in read_truth(copy)}
    assert by_key == {"ana": (FAMILY, T0 + 148_000), "ben": ("as_recorded", T0)}


def test_a_session_that_ran_an_attack_before_is_an_attack_of_its_own(tmp_path: Path) -> None:
    stratus: dict[str, Any] = {"user_agent": "stratus-red-team_1"}
    lab = laboratory(
        tmp_path, *working("ana", 1, **stratus), *working("ben", 2), *working("eve", 3, until=8, **stratus)
    )

    (copy,) = switched(lab, tmp_path, 5, seed=1)

    by_key = {row.session_id: (row.label, row.family, row.started_at) for row in read_truth(copy)}
    assert by_key == {
        "ana": ("attack", DETONATED, T0),
        "ben": ("attack", FAMILY, T0 + 48_000),
        "eve": ("attack", DETONATED, T0),
    }


@pytest.mark.parametrize(
    ("client", "origin"),
    [
        ("stratus-red-team_1", "detonation"),
        ("APN/1.0 HashiCorp/1.0 Terraform/1.1.2", "preparation"),
        ("APN/1.0 HashiCorp/1.0 Terraform/1.1.2 stratus-red-team_1", "preparation"),
        ("Boto3/1.26", "other"),
        (None, "other"),
    ],
)
def test_in_the_lab_the_user_agent_shows_the_origin_of_an_event(client: str | None, origin: str) -> None:
    assert origin_of({"user_agent": client}) == origin


def test_a_recording_shows_the_origin_of_the_event_after_which_a_detection_began(tmp_path: Path) -> None:
    user = {"type": "IAMUser", "arn": "arn:aws:iam::1:user/a", "accountId": "1", "accessKeyId": "AKIA1"}
    record = {"eventTime": "2024-06-01T12:00:00Z", "userIdentity": user}
    stop = {"eventSource": "cloudtrail.amazonaws.com", "eventName": "StopLogging", "eventID": "e-1"}
    look = {"eventSource": "ec2.amazonaws.com", "eventName": "DescribeVpcs", "eventID": "e-2"}
    made = [{**record, **stop, "userAgent": "stratus-red-team_1"}, {**record, **look}]
    (tmp_path / "log.json").write_text(json.dumps({"Records": made}), "utf-8")

    raised, unharmed = (
        detected_in("stop", [tmp_path / "log.json"], Policy(), Model(NoDetector()), detonations=detonations)
        for detonations in (True, False)
    )

    assert raised == Detected("stop", 1, "MEDIUM", ("audit_switched_off",), {("audit_switched_off", "detonation"): 1})
    assert unharmed == Detected("stop", 0, "LOW", (), {})
