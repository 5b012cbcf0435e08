"""Output of the smaller commands: recordings, settings, topics, schemas, policies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.decisions.policy import fitted
from pipeline.offline.docs.settings_page import table
from schemas.export import COMMITTED, documents
from schemas.topics import TOPICS
from tests.support.command_line import ROOT, invoked, json_output_of


def test_a_simulation_is_a_labelled_recording_and_the_same_again(tmp_path: Path) -> None:
    output = [
        json_output_of(
            "simulate",
            "--out",
            tmp_path / name,
            "--hours",
            "0.3",
            "--principals",
            "8",
            "--start",
            "2026-05-04",
        )
        for name in ("one", "two")
    ]

    by_key, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert by_key == two
    assert len(by_key.pop("truth.jsonl").splitlines()) == output[0]["sessions"]
    assert len(by_key.pop("sessions.jsonl").splitlines()) == output[0]["sessions"]
    assert sum(json.loads(by_key.pop("world.json"))["volumes"].values()) == output[0]["events"]
    assert sum(len(lines.splitlines()) for lines in by_key.values()) == output[0]["events"]
    first = min(json.loads(lines.splitlines()[0])["occurred_at"] for lines in by_key.values())
    assert 0 <= first - 1_777_852_800_000 < 600_000


def test_cloudtrail_becomes_a_recording_that_can_be_replayed(tmp_path: Path) -> None:
    logs = ROOT / "tests" / "data" / "cloudtrail"
    output = json_output_of("convert", "cloudtrail", logs / "stratus", logs / "invictus", "--out", tmp_path / "in")

    replayed = json_output_of("replay", tmp_path / "in", "--out", tmp_path / "out")

    assert replayed["events"] == sum(output["converted"].values()) > 20
    assert replayed["dead_letters"] == 0


def test_settings_show_every_setting_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("SECURITY_PROTOCOL", "SASL_SSL"),
        ("SASL_USERNAME", "me"),
        ("SASL_PASSWORD", "s3cret"),
    ):
        monkeypatch.setenv(f"SESSION_RISK_{name}", value)

    rows, shown = json_output_of("settings"), invoked("settings").stdout

    assert [row["env"] for row in rows] == [row.env for row in table()]
    values = {row["env"]: row["value"] for row in rows}
    assert values["SESSION_RISK_SASL_USERNAME"] == "me"
    assert "s3cret" not in json.dumps(rows) + shown
    assert max(map(len, shown.splitlines())) <= 100


def test_topics_are_listed_with_a_changelog_for_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_PARTITIONS", "5")

    by_key = {row["name"]: row["partitions"] for row in json_output_of("topics", "list")}

    changelogs = {f"session-risk-{kind}-state-changelog": 5 for kind in ("session", "device", "principal", "network")}
    assert by_key == {topic.name: topic.partitions(5) for topic in TOPICS.values()} | changelogs


def test_the_schemas_that_are_exported_are_those_that_are_committed(tmp_path: Path) -> None:
    done = invoked("schemas", "export", "--out", tmp_path / "json")

    assert done.exit_code == 0
    for name in documents():
        assert (tmp_path / "json" / name).read_bytes() == (COMMITTED / name).read_bytes()


def test_a_policy_is_shown_with_what_differs_from_the_default(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("prior = -5.0\n[detections.mass_read]\nenabled = false\n", encoding="utf-8")

    shown = invoked("policy", "show", path).stdout
    output = json_output_of("policy", "check", path)

    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[0] == f"policy {output['id']}"
    assert [line for line in lines if " not " in line or line.endswith(" added")] == [
        f"prior -5.0 not {fitted()['prior']}",
        "detections.mass_read.enabled false not true",
    ]
