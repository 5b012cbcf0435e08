"""`session-risk explain`: the reasons, evidence and commands of one decision, from a replay's output or from Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from pydantic_core import from_json
from rich.console import Console

from pipeline.console import as_json, clock, grid, moment, print_json, screen, shortened, working
from pipeline.decisions.decision import ANOMALY
from pipeline.decisions.explanations import SEPARATOR, parse_clause
from pipeline.decisions.policy import Policy, read_policy
from pipeline.kafka.client import values_containing
from pipeline.kafka.connection import Connection
from pipeline.offline.replay.decision_log import Account, Source, account, in_directory, prior_of, total_of
from pipeline.offline.replay.recording import read
from pipeline.settings.loading import load

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
SHOWN_FIELDS = (
    "action",
    "operation",
    "status",
    "tool",
    "records",
    "asn",
    "country",
    "network_type",
    "rooted",
    "malware",
    "attestation",
    "compliant",
)
"""Fields of an event that are shown as evidence, if they are present."""


@click.command("explain", short_help="Show how a decision came about and what was done.")
@click.argument("decision_id")
@click.option("--in", "folder", type=FOLDER, help="Output folder of `replay --out`; else Kafka is read.")
@click.option("--recording", type=FOLDER, help="Recording to find the evidence in.")
@click.option("--policy", type=click.Path(dir_okay=False, path_type=Path), help="Policy file that decided.")
@as_json
def command(
    *, decision_id: str, folder: Path | None, recording: Path | None, policy: Path | None, as_json: bool
) -> None:
    """Show how the decision DECISION_ID came about: subject, time, reasons, evidence and commands.

    Exit code 1 if there is no such decision.
    """
    found = account(decision_id, in_directory(folder) if folder else _in_kafka())
    prior = prior_of(found.decision, _policies(policy))
    evidence = list(_evidence(found.evidence, recording)) if recording else []
    if as_json:
        print_json({**asdict(found), "prior": prior, "events": evidence})
        return
    console = screen()
    _show_subject(console, found.decision)
    _show_reasons(console, found.decision, prior)
    _show_evidence(console, found, evidence)
    _show_commands(console, found)


def _in_kafka() -> Source:
    connection = Connection.of(load())

    def values(topic: str, text: str) -> Iterable[bytes]:
        with working(f"reading {topic}"):
            return asyncio.run(values_containing(connection, topic, text))

    return values


def _policies(given: Path | None) -> list[Policy]:
    """The available policies: the one named, the one in the settings, the default."""
    return [read_policy(path) for path in dict.fromkeys((given, load().policy_file, None))]


def _evidence(ids: list[str], recording: Path) -> Iterator[dict[str, Any]]:
    """The events of *recording* with these ids; the id of a context record is that of its event with a suffix."""
    wanted = {event_id.partition("~")[0].encode() for event_id in ids}
    for record in read(recording):
        if any(event_id in record.value for event_id in wanted):
            event = from_json(record.value)
            if str(event.get("event_id")).encode() in wanted:
                yield event | ({"token_id": shortened(event["token_id"])} if event.get("token_id") else {})


def _show_subject(console: Console, decision: dict[str, Any]) -> None:
    name = f"{decision.get('principal_kind') or 'principal'} {decision.get('principal_id') or ''}".strip()
    took = decision["decided_at"] - decision["occurred_at"]
    rows = [
        ("session", f"{decision['session_id']} of tenant {decision['tenant']}"),
        ("who", name),
        ("device", decision.get("device_id")),
        ("when", f"{moment(decision['occurred_at'])}, decided {took / 1000:.3f} s after"),
        ("caused by", decision.get("caused_by")),
        ("level", f"{decision['previous_level']} → {decision['level']}, action {decision['action']}"),
        ("decided by", f"policy {decision['policy']}, model {decision['model']}, mode {decision['mode']}"),
    ]
    console.print(f"decision {decision['decision_id']}", style="bold")
    console.print(grid("", "", rows=rows))


def _show_reasons(console: Console, decision: dict[str, Any], prior: float | None) -> None:
    console.print("\nwhy", style="bold")
    start = "?" if prior is None else f"{prior:+.2f}"
    remark = None if prior is not None else "of a policy that is not available"
    rows: list[tuple[str, str, str | None, str | None]] = [(start, "before any evidence", remark, None)]
    for reason in decision["reasons"]:
        rows += _rows_of(reason)
    total = total_of(decision)
    end = f"+{total:.2f}" if prior is None else f"{prior + total:+.2f}"
    rows.append((end, f"total: a score of {decision['score']} of 100", None, None))
    console.print(grid(">log-odds", "what", "observed", "normal", rows=rows))
    if decision.get("learning"):
        console.print(f"still learning what is normal here: {', '.join(decision['learning'])}")
    if decision.get("suppressed"):
        console.print(f"not counted or held back: {decision['suppressed']}")


def _rows_of(reason: dict[str, Any]) -> list[tuple[str, str, str | None, str | None]]:
    """The rows of one reason; the model's reason has one row for each feature."""
    weight, text = f"{reason['contribution']:+.2f}", f"{reason['detection']}: {reason['text']}"
    if reason["detection"] != ANOMALY:
        return [(weight, text, reason.get("observed"), reason.get("normal"))]
    head, _, pieces = reason["text"].partition(": ")
    rows: list[tuple[str, str, str | None, str | None]] = [(weight, f"{ANOMALY}: {head}", None, None)]
    for piece in filter(None, pieces.split(SEPARATOR)):
        seen, usual, what = parse_clause(piece)
        # An unusual order of two calls has no usual value.
        rows.append(("", f"  {what}", seen, usual) if usual else ("", f"  {piece}", None, None))
    return rows


def _show_evidence(console: Console, account: Account, events: list[dict[str, Any]]) -> None:
    console.print("\nevidence", style="bold")
    if events:
        rows = [(clock(event["occurred_at"]), event["event_id"], _summary(event)) for event in events]
        console.print(grid("time", "event", "content", rows=rows))
        return
    for reason in account.decision["reasons"]:
        if reason.get("evidence"):
            span = f"{clock(reason['first_at'])} to {clock(reason['last_at'])}"
            console.print(f"{reason['detection']}, {span}: {', '.join(reason['evidence'])}")


def _summary(event: dict[str, Any]) -> str:
    lines = [f"{name} {event[name]}" for name in SHOWN_FIELDS if event.get(name) is not None]
    return f"{event['type']}: {', '.join(lines) or 'nothing unusual'}"


def _show_commands(console: Console, account: Account) -> None:
    console.print("\nwhat was done", style="bold")
    for topic, command, name in (
        ("session-revocations", account.revocation, "revocation_id"),
        ("session-challenges", account.challenge, "challenge_id"),
    ):
        if command is not None:
            due = moment(command["deadline"])
            console.print(f"{command[name]} on {topic}, due {due}: {command['reason_admin']}")
    for ack in account.acks:
        by = ack.get("enforcer") or "the enforcer"
        console.print(f"{moment(ack['occurred_at'])}: {by} reports {ack['outcome']} {ack.get('detail') or ''}")
    for finding in account.findings:
        what = {1: "opened", 2: "updated", 3: "closed"}[finding["activity_id"]]
        console.print(f"finding {finding['finding_info']['uid']} {what}")
    if account.revocation is None and account.challenge is None:
        console.print("no command was sent with this decision")
