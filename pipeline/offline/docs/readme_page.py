"""The generated parts of README.md and of the pages beside the code: topics, measured quality, thresholds, an example.

Topics come from their table, measured quality from models/EVALUATION.md and models/evaluation/worlds.json, the
revocation from a replay of the events of deploy/first_revocation.py, so none of them can differ from its source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from runpy import run_path
from typing import Any, Final

from pipeline.assembly import configured, processor_specs
from pipeline.control.reloader import ConfigReloader
from pipeline.decisions.policy import read_policy
from pipeline.decisions.risk import score
from pipeline.offline.evaluation.foreign.page import goals, published, tables
from pipeline.offline.replay.recording import InputRecord
from pipeline.offline.replay.runner import Replay
from pipeline.sessions.processor import Options
from pipeline.settings.loading import Settings
from schemas.decode import encode
from schemas.topics import MODEL_CONTROL, SESSION_REVOCATIONS, TOPICS, Direction

TOP: Final = Path(__file__).parents[3]
FIRST_REVOCATION: Final = TOP / "deploy" / "first_revocation.py"
EVALUATION: Final = TOP / "models" / "EVALUATION.md"

DIRECTIONS: Final[dict[Direction, str]] = {
    "input": "in",
    "control": "in",
    "output": "out",
    "internal": "internal",
}

QUALITY: Final = (
    ("attacks met with an intervention", "attacked sessions asked for a factor or revoked"),
    ("attacks revoked", "attacked sessions revoked"),
    (
        "median delay of the 22 families that a HIGH detection answers",
        "seconds from the attack to the revocation, median, where a HIGH detection answers",
    ),
    ("median delay of all revocations, those for unanswered step-ups too", "the same for all revocations"),
    ("false revocations in 10,000 honest session-hours", "honest sessions revoked, in 10,000 hours"),
    ("false challenges in 1,000 honest session-hours", "honest people asked for a factor, in 1,000 hours"),
)
"""Rows of the evaluation that are shown, and their titles outside the evaluation."""

MINUTE: Final = 60_000
T: Final = 1_772_409_600_000
"""2026-03-02 00:00 UTC: when the example happens."""


def topics() -> str:
    """The topics that others write and read, without those between workers."""
    rows = [(DIRECTIONS[topic.direction], topic) for topic in TOPICS.values() if topic.direction != "internal"]
    return _table(
        ("", "topic", "what flows"),
        [
            (way, f"`{topic.name}`", topic.text)
            for wanted in ("in", "out")
            for way, topic in rows
            if way == wanted and topic.name != MODEL_CONTROL
        ],
    )


def all_topics() -> str:
    """Every topic, with its key, its direction and its JSON Schema."""
    return _table(
        ("topic", "key", "", "what flows"),
        [
            (
                f"[`{topic.name}`](json/{topic.name}.schema.json)",
                f"`{topic.key}`" if topic.key else "as the source",
                DIRECTIONS[topic.direction],
                topic.text,
            )
            for topic in TOPICS.values()
        ],
    )


def worlds() -> str:
    """The goals and measurements in the worlds of others."""
    return goals(published())


def worlds_in_full() -> str:
    """The results in the worlds of others, by kind of company, family and detection."""
    return tables(published())


def quality() -> str:
    """The goals and measurements of the evaluation."""
    measured = evaluation()
    return _table(("", "asked for", "measured"), [(title, *measured[row]) for row, title in QUALITY])


def evaluation() -> Mapping[str, tuple[str, str]]:
    """The rows of the evaluation's first table: goal and measurement by name."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", EVALUATION.read_text("utf-8"), re.MULTILINE)
    return {name: (asked, measured) for name, asked, measured in rows}


def revocation() -> str:
    """The command that the example's events lead to."""
    records = [
        InputRecord(topic, number, encode(event | {"event_id": f"7f3a-{number}", "occurred_at": at}), at)
        for number, (topic, _, event) in enumerate(run_path(str(FIRST_REVOCATION))["events"]("7f3a"))
        for at in [T + MINUTE * number]
    ]
    shipped = ConfigReloader(configured(Settings())).active
    replay = Replay(processor_specs(shipped, Options(event_clock=True)))
    sent = [message.value for message in replay.run(records) if message.topic == SESSION_REVOCATIONS]
    command: dict[str, Any] = json.loads(sent[0] or b"{}")
    return f"```json\n{json.dumps(command, indent=2)}\n```"


def thresholds() -> str:
    """The prior and the levels of the default policy."""
    policy = read_policy(None)
    levels, guard = policy.levels, policy.guard
    alone = score(policy.prior)
    return _table(
        ("default policy", "log-odds or score"),
        [
            ("prior, the log-odds of a session with no evidence", f"{policy.prior:g}, which is a score of {alone:g}"),
            ("MEDIUM begins at, and ends below", f"{levels.medium_raise:g}, {levels.medium_clear:g}"),
            ("HIGH begins at, and ends below", f"{levels.high_raise:g}, {levels.high_clear:g}"),
            ("a level ends only after", f"{levels.dwell_s:g} s below"),
            ("revocations of a tenant in a minute, at most", f"{guard.revocations_per_minute:g}"),
            (
                "a fleet is silent from",
                f"{guard.silent_fleet_share:.0%} of a tenant's devices, at least {guard.silent_fleet_min_devices:g}",
            ),
        ],
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * (lines[0].count("|") - 1) + "|", *lines[1:]])
