"""`session-risk model`: orders to all workers about models, by way of `model-control`."""

from __future__ import annotations

import asyncio
from getpass import getuser
from time import time
from typing import Any, Final

import click

from pipeline.control.reloader import ANY_MODEL, succession
from pipeline.kafka.client import on_topic, writing
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import check_topics, needed_topics
from pipeline.processing.processor import Message
from pipeline.settings.loading import Settings, load
from schemas.control import ModelControl
from schemas.decode import decode_chunk, encode
from schemas.topics import MODEL_CONTROL

CONFIGURED: Final = "configured"
FOREVER_MS: Final = 2**62


@click.group("model", short_help="Say which model decides, and in which mode.")
def command() -> None:
    """Orders to every worker; they take effect between two chunks and are remembered in Kafka."""


@command.command("promote", short_help="Let a model decide.")
@click.argument("name")
def promote(*, name: str) -> None:
    """Let the model NAME decide, from now on. Promoting the one before goes back."""
    _order("promote", name)
    click.echo(f"{name} decides, where workers have it in SESSION_RISK_MODEL_DIR")


@command.command("shadow", short_help="Have workers load a model as a challenger.")
@click.argument("name")
def shadow(*, name: str) -> None:
    """Let the model NAME look on: what it would decide is recorded on `session-shadow`, and never done.

    It scores with its own roles; sessions that live already begin for these as if they had called nothing.
    Detections that ask for roles hold as the champion's have it: what they would become, `compare` on a
    recording tells. A worker that cannot load the model says so in its log and in
    `session_risk_model_refused`.
    """
    _order("shadow", name)
    click.echo(f"{name} is a challenger, where workers have it in SESSION_RISK_MODEL_DIR")


@command.command("retire")
@click.argument("name")
def retire(*, name: str) -> None:
    """Let the model NAME decide no longer: the one promoted before it does."""
    _order("retire", name)
    click.echo(f"{name} is retired")


@command.command("rollback", short_help="Let the model decide that did before.")
def rollback() -> None:
    """Retire the model promoted last: the one before it decides again, in the end the configured one.

    Exit code 1 if no model was promoted.
    """
    settings = load()
    first, *rest = succession(_standing_orders(settings), settings.model) or [settings.model]
    if first == settings.model:
        raise NothingPromotedError(f"no model was promoted: {first}, the configured one, decides")
    _order("retire", first)
    before = f"{rest[0]} decides again, where workers have it" if rest else "rules decide alone"
    click.echo(f"{first} is retired; {before}")


@command.command("mode")
@click.argument("mode", type=click.Choice(["enforce", "observe", CONFIGURED]))
def mode(*, mode: str) -> None:
    """Set the mode: `observe` reports and commands nothing; `configured` is what settings and policy say."""
    _order("mode", ANY_MODEL, None if mode == CONFIGURED else mode)
    click.echo(f"the mode is {mode}")


class NothingPromotedError(LookupError):
    """There is no model to go back from."""

    def __str__(self) -> str:
        return str(self.args[0])


def _standing_orders(settings: Settings) -> dict[str, Any]:
    """The newest order about each model, oldest first, as workers keep them."""
    orders: dict[str, Any] = {}
    with on_topic(Connection.of(settings), MODEL_CONTROL) as (_, values):
        for order in decode_chunk(MODEL_CONTROL, [*values], None, now_ms=FOREVER_MS).events:
            orders.pop(order["model"], None)
            orders[order["model"]] = order
    return orders


def _order(what: str, model: str, mode: str | None = None) -> None:
    order = ModelControl.model_validate(
        {
            "command": what,
            "model": model,
            "mode": mode,
            "issued_by": user(),
            "occurred_at": int(time() * 1000),
        }
    )
    settings = load()
    connection = Connection.of(settings)
    needed = needed_topics(settings.app_id, (), settings.partitions)

    async def send() -> None:
        await check_topics(connection, [topic for topic in needed if topic.name == MODEL_CONTROL])
        async with writing(connection) as writer:
            await writer.send(Message(MODEL_CONTROL, model.encode(), encode(order)))
            await writer.flush()

    asyncio.run(send())


def user() -> str:
    """Return the name of whoever runs this."""
    try:
        return getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        return "unknown"
