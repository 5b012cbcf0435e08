"""`session-risk topics`: the topics that a worker needs (create, list, check), and the access rights on them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final, cast

import click

from pipeline.console import as_json, grid, print_json, screen
from pipeline.kafka.acls import Right, grant, rights_of
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import (
    PATIENCE_SECONDS,
    PROCESSOR_NAMES,
    NeededTopic,
    check_topics,
    create_topics,
    needed_topics,
    ping_broker,
)
from pipeline.settings.loading import Settings, load
from schemas.topics import ROLES, Role

_PRINCIPAL: Final = re.compile(r"([a-z-]+)=(User:)?([^\s:*][^\s]*)")


@click.group("topics", short_help="Create, list or check the topics; grant rights on them.")
def command() -> None:
    """The topics. `schemas export` shows their records, the settings their number of partitions."""


@command.command("create")
@as_json
def create(*, as_json: bool) -> None:
    """Create missing topics; existing ones are not changed."""
    settings, topics = _needed()
    connection = Connection.of(settings)
    made = asyncio.run(create_topics(connection, topics, settings.replication_factor))
    asyncio.run(check_topics(connection, topics, PATIENCE_SECONDS))
    if as_json:
        print_json({"made": made, "there": [topic.name for topic in topics if topic.name not in made]})
    else:
        click.echo(f"created {len(made)} topics, {len(topics) - len(made)} existed" if made else "all topics exist")


@command.command("list")
@as_json
def list_needed(*, as_json: bool) -> None:
    """List the topics that a worker needs, without connecting to a broker."""
    _, topics = _needed()
    if as_json:
        print_json([{"name": t.name, "partitions": t.partitions, "config": dict(t.config)} for t in topics])
        return
    rows = [(topic.name, topic.partitions, _config(topic)) for topic in topics]
    screen().print(grid("topic", ">partitions", "configuration", rows=rows))


@command.command("check")
@as_json
def check(*, as_json: bool) -> None:
    """Check that the broker responds and every topic exists with its partitions; exit code 3 if not."""
    settings, topics = _needed()
    asyncio.run(check_topics(Connection.of(settings), topics))
    if as_json:
        print_json({"broker": settings.broker, "topics": [topic.name for topic in topics]})
    else:
        click.echo(f"{settings.broker} has all {len(topics)} topics as needed")


@command.command("acls")
@click.option("--role", "roles", multiple=True, type=click.Choice(list(ROLES)), help="Only this role.")
@click.option(
    "--principal",
    "named",
    multiple=True,
    metavar="ROLE=NAME",
    help="Kafka user that has a role; else session-risk-ROLE. May be repeated.",
)
@click.option("--apply", "apply", is_flag=True, help="Grant the rights; needs a super user of the brokers.")
@as_json
def acls(*, roles: tuple[Role, ...], named: tuple[str, ...], apply: bool, as_json: bool) -> None:
    """Print the minimum rights that each role needs; with --apply, grant them.

    If SESSION_RISK_PSEUDONYM_KEY_FILE is set, only roles that act on commands may read them. Rights granted earlier
    are not revoked: `kafka-acls.sh --list` shows them.
    """
    settings, _ = _needed()
    pseudonyms = settings.pseudonym_key_file is not None
    wanted = {role: rights_of(role, settings.app_id, PROCESSOR_NAMES, pseudonyms=pseudonyms) for role in roles or ROLES}
    principals = _principals(named, list(wanted))
    if apply:
        connection = Connection.of(settings)
        asyncio.run(ping_broker(connection))
        count = grant(connection, [(name, wanted[role]) for role, name in principals])
        click.echo(f"granted {count} rights at {settings.broker}", err=True)
    rows = [_row(role, name, right) for role, name in principals for right in wanted[role]]
    if as_json:
        print_json(rows)
        return
    cells = [(row["principal"], row["operation"], row["resource"], row["name"], row["pattern"]) for row in rows]
    screen().print(grid("principal", "may", "a", "named", "pattern", rows=cells))


def _principals(named: Sequence[str], roles: Sequence[Role]) -> list[tuple[Role, str]]:
    """Return the Kafka users of each of *roles*; a role may have several."""
    given = {role: list[str]() for role in roles}
    for text in named:
        found = _PRINCIPAL.fullmatch(text)
        if found is None or found[1] not in given:
            raise click.UsageError(
                f"--principal {text}: write ROLE=NAME, where ROLE is one of {', '.join(roles)} "
                "and NAME a user of the brokers"
            )
        given[cast("Role", found[1])].append(found[3])
    return [(role, f"User:{name}") for role in roles for name in given[role] or [f"session-risk-{role}"]]


def _row(role: Role, principal: str, right: Right) -> dict[str, str]:
    return {
        "role": role,
        "principal": principal,
        "operation": right.operation,
        "resource": right.resource,
        "name": right.name,
        "pattern": "prefixed" if right.prefixed else "literal",
    }


def _needed() -> tuple[Settings, Sequence[NeededTopic]]:
    settings = load()
    if settings.embedded:
        raise click.UsageError("the embedded broker has no lasting topics; unset SESSION_RISK_EMBEDDED")
    return settings, needed_topics(settings.app_id, PROCESSOR_NAMES, settings.partitions)


def _config(topic: NeededTopic) -> str:
    return ", ".join(f"{name}={value}" for name, value in topic.config.items())
