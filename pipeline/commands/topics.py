"""`session-risk topics`: the topics a worker needs, made, listed or checked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click

from pipeline.connection import Connection
from pipeline.console import as_json, grid, print_json, screen
from pipeline.settings import Settings, load
from pipeline.topic_admin import PATIENCE_SECONDS, NeededTopic, check_topics, create_topics, needed_topics

KINDS = ("session", "device", "principal", "network")


@click.group("topics", short_help="Make, list or check the topics.")
def command() -> None:
    """The topics: what flows is in the contract (`schemas export`), how many partitions in the settings."""


@command.command("create")
@as_json
def create(*, as_json: bool) -> None:
    """Make the topics that are missing; those that exist are left as they are."""
    settings, topics = _needed()
    connection = Connection.of(settings)
    made = asyncio.run(create_topics(connection, topics, settings.replication_factor))
    asyncio.run(check_topics(connection, topics, PATIENCE_SECONDS))
    if as_json:
        print_json({"made": made, "there": [topic.name for topic in topics if topic.name not in made]})
    else:
        click.echo(
            f"made {len(made)} topics, {len(topics) - len(made)} were there" if made else "all are there"
        )


@command.command("list")
@as_json
def list_needed(*, as_json: bool) -> None:
    """List what a worker needs, without asking a broker."""
    _, topics = _needed()
    if as_json:
        print_json([{"name": t.name, "partitions": t.partitions, "config": dict(t.config)} for t in topics])
        return
    rows = [(topic.name, topic.partitions, _config(topic)) for topic in topics]
    screen().print(grid("topic", ">partitions", "configuration", rows=rows))


@command.command("check")
@as_json
def check(*, as_json: bool) -> None:
    """Say whether the broker answers and every topic is there with its partitions; exit code 3 if not."""
    settings, topics = _needed()
    asyncio.run(check_topics(Connection.of(settings), topics))
    if as_json:
        print_json({"broker": settings.broker, "topics": [topic.name for topic in topics]})
    else:
        click.echo(f"{settings.broker} has all {len(topics)} topics as they must be")


def _needed() -> tuple[Settings, Sequence[NeededTopic]]:
    settings = load()
    if settings.embedded:
        raise click.UsageError("an embedded broker ends with its process; unset SESSION_RISK_EMBEDDED")
    return settings, needed_topics(settings.app_id, KINDS, settings.partitions)


def _config(topic: NeededTopic) -> str:
    return ", ".join(f"{name}={value}" for name, value in topic.config.items())
