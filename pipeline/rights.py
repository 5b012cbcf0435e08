"""Who may read and write what in Kafka: the least each role needs, worked out from the table of topics.

Reading or writing a topic includes seeing it. An idempotent producer needs no right of its own beside
writing to a topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from pipeline.changelog import changelog_topic
from schemas.topics import REVOCATION_ACKS, ROLES, TOPICS, Role

Operation = Literal["read", "write"]
Resource = Literal["topic", "group"]


class Right(NamedTuple):
    """One right; *prefixed*: on everything whose name begins so."""

    operation: Operation
    resource: Resource
    name: str
    prefixed: bool = False

    def __str__(self) -> str:
        """The right in words, as `read topic api-calls`."""
        return f"{self.operation} {self.resource} {self.name}{'*' if self.prefixed else ''}"


def rights_of(
    role: Role, app_id: str, kinds: Iterable[str], *, pseudonyms: bool = False
) -> tuple[Right, ...]:
    """Return the rights of *role* where workers are the group *app_id* and have these kinds of stages.

    Where names leave as *pseudonyms*, only those who act on commands read them: people are named there.
    """
    return (
        *_on_topics(role, pseudonyms=pseudonyms),
        *_on_changelogs(role, app_id, kinds),
        *_on_groups(role, app_id),
    )


def _on_topics(role: Role, *, pseudonyms: bool) -> Iterator[Right]:
    acts = role in TOPICS[REVOCATION_ACKS].writers
    for topic in TOPICS.values():
        hidden = pseudonyms and not acts and topic.direction == "output" and not topic.pseudonyms
        if role in topic.readers and not hidden:
            yield Right("read", "topic", topic.name)
        if role in topic.writers:
            yield Right("write", "topic", topic.name)


def _on_changelogs(role: Role, app_id: str, kinds: Iterable[str]) -> Iterator[Right]:
    if role == "worker":
        for kind in kinds:
            yield Right("read", "topic", changelog_topic(app_id, kind))
            yield Right("write", "topic", changelog_topic(app_id, kind))


def _on_groups(role: Role, app_id: str) -> Iterator[Right]:
    """Others than workers have consumer groups whose names begin with their role."""
    if role == "worker":
        yield Right("read", "group", app_id)
    elif any(role in topic.readers for topic in TOPICS.values()):
        yield Right("read", "group", f"{role}-", prefixed=True)


def markdown() -> str:
    """Return the table of roles and what they may do with topics, as it stands in the runbook."""
    lines = ["| role | what for | writes | reads |", "|---|---|---|---|"]
    for role, text in ROLES.items():
        writes = _listed(topic.name for topic in TOPICS.values() if role in topic.writers)
        reads = _listed(topic.name for topic in TOPICS.values() if role in topic.readers)
        lines.append(f"| `{role}` | {text} | {writes} | {reads} |")
    return "\n".join(lines) + "\n"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"
