"""`session-risk model`: commands to all workers about models, sent to `model-control`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, Final

import click

from models.model_card import BadModel
from pipeline.commands.diff import FOLDER
from pipeline.console import as_json, current_user, grid, moment, print_json, screen
from pipeline.control.succession import ANY_MODEL, succession
from pipeline.kafka.client import open_writer, read_topic
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import check_topics, needed_topics
from pipeline.processing.processor import Message
from pipeline.settings.loading import Settings, load
from schemas.control import ModelControl
from schemas.decode import decode_chunk, encode
from schemas.records import ModelControlDict
from schemas.topics import MODEL_CONTROL

if TYPE_CHECKING:  # importing scikit-learn takes a second, and most of these commands load no model
    from pipeline.control.inventory import ListedModel
    from pipeline.control.reloader import Model, Models

CONFIGURED: Final = "configured"
FOREVER_MS: Final = 2**62


@click.group("model", short_help="Choose which model decides, and in which mode.")
def command() -> None:
    """Commands to all workers; they take effect between two chunks and stay in Kafka."""


@command.command("promote", short_help="Let a model decide.")
@click.argument("name")
@click.option(
    "--compare",
    "recording",
    type=FOLDER,
    help="Recording on which the model may revoke no honest session that the one deciding now does not.",
)
@click.option(
    "--force", is_flag=True, help="Promote it even if it cannot be loaded here or --compare speaks against it."
)
def promote(*, name: str, recording: Path | None, force: bool) -> None:
    """Let the model NAME decide from now on. To go back, promote the previous one.

    It is first loaded from SESSION_RISK_MODEL_DIR, as workers do; one that cannot be loaded is refused (exit code 2).
    With --compare both models decide on a RECORDING, where people pass challenges as long as the session is honest by
    its `truth.jsonl`. If it has none, each session may be honest. Exit code 1 if only NAME would revoke honest ones.
    """
    settings = load()
    try:
        _check(settings, name, recording)
    except (BadModel, PromotionRefusedError) as error:
        if not force:
            raise
        click.echo(f"session-risk: --force promotes it all the same: {error}", err=True)
    _send("promote", name)
    click.echo(f"{name} decides, on workers that have it in SESSION_RISK_MODEL_DIR")


@command.command("list", short_help="List the models, and which of them decides.")
@as_json
def list_models(*, as_json: bool) -> None:
    """List the models in SESSION_RISK_MODEL_DIR and those ordered: which decides, and which would after a rollback.

    They are loaded as a worker with this folder would load them.
    """
    listed = _listed()
    decides = next((model for model in listed if model.use == "decides"), None)
    if as_json:
        print_json({"decides": decides and decides.name, "models": [_fields(model) for model in listed]})
        return
    console = screen()
    console.print(f"{decides.id} decides" if decides else "no model decides, only detections")
    rows = [(model.name, model.use, model.id, _ordered(model)) for model in listed]
    console.print(grid("model", "use", "id", "ordered", rows=rows))
    for model in listed:
        if model.problem:
            click.echo(f"\n{model.name} ({model.use}) cannot be loaded here: {model.problem}")


@command.command("show", short_help="Show what a model is, and what it is used for.")
@click.argument("name", required=False)
@as_json
def show(*, name: str | None, as_json: bool) -> None:
    """Show the model NAME, else the one that decides: its use, its training data, and how well it does.

    Exit code 2 if it cannot be loaded.
    """
    listed = _listed()
    wanted = next((model for model in listed if (model.name == name if name else model.use == "decides")), None)
    if wanted is None:
        known = ", ".join(model.name for model in listed) or "none"
        raise BadModel(f"there is no model {name}; known are: {known}" if name else "no model decides, only detections")
    if wanted.problem:
        raise BadModel(f"model {wanted.name}, {wanted.use}, cannot be loaded: {wanted.problem}")
    if as_json:
        print_json({**_fields(wanted), "card": wanted.card})
        return
    data, metrics = wanted.card.get("data", {}), wanted.card.get("metrics", {})
    rows = {
        "model": wanted.id,
        "use": wanted.use,
        "ordered": _ordered(wanted),
        "trained on": _trained_on(wanted),
        "event time": " to ".join(data.get("window", ())) or None,
        "vectors": data.get("rows"),
        "sessions": data.get("sessions"),
        "evaluated on": metrics.get("on"),
        "area under the ROC curve": metrics.get("auc"),
        "average precision": metrics.get("average_precision"),
        **{
            f"recall of sessions at {budget.replace('_', ' ')}": recall
            for budget, recall in metrics.get("recall_of_sessions", {}).items()
        },
    }
    screen().print(grid("", "", rows=rows.items()))


def _listed() -> list[ListedModel]:
    """The models that there are by the settings and by the orders in Kafka."""
    from pipeline.assembly import configured  # noqa: PLC0415 - takes a second to import, as all that loads models
    from pipeline.control.inventory import inventory  # noqa: PLC0415 - the same

    settings = load()
    return inventory(configured(settings).models, _orders_in_force(settings), settings.model)


def _fields(model: ListedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "use": model.use,
        "id": model.id,
        "trained_on": _trained_on(model),
        "order": model.order,
        "problem": model.problem or None,
    }


def _trained_on(model: ListedModel) -> str | None:
    kind: str | None = model.card.get("data", {}).get("kind")
    return kind


def _ordered(model: ListedModel) -> str | None:
    order = model.order
    return order and f"{order['command']} by {order['issued_by']}, {moment(order['occurred_at'])}"


@command.command("shadow", short_help="Have workers load a model as a challenger.")
@click.argument("name")
def shadow(*, name: str) -> None:
    """Run the model NAME as a challenger: its decisions are recorded on `session-shadow` and have no effect.

    It scores with its own roles; for these, sessions that are already live start without past calls. Detections that
    depend on roles use the champion's; `compare` on a recording shows them with the challenger's. A worker that cannot
    load the model reports it in its log and in `session_risk_model_refused`.
    """
    _send("shadow", name)
    click.echo(f"{name} is a challenger, on workers that have it in SESSION_RISK_MODEL_DIR")


@command.command("retire")
@click.argument("name")
def retire(*, name: str) -> None:
    """Stop using the model NAME: the one promoted before it decides."""
    _send("retire", name)
    click.echo(f"{name} is retired")


@command.command("rollback", short_help="Let the previous model decide again.")
def rollback() -> None:
    """Retire the model promoted last: the one before it decides again, and finally the configured one.

    Exit code 1 if no model was promoted.
    """
    settings = load()
    first, *rest = succession(_orders_in_force(settings), settings.model) or [settings.model]
    if first == settings.model:
        raise NothingPromotedError(f"no model was promoted: {first}, the configured model, decides")
    _send("retire", first)
    before = (
        f"{rest[0]} decides again, on workers that have it" if rest else "no model decides any longer, only detections"
    )
    click.echo(f"{first} is retired; {before}")


@command.command("mode")
@click.argument("mode", type=click.Choice(["enforce", "observe", CONFIGURED]))
def mode(*, mode: str) -> None:
    """Set the mode: `observe` decides but sends no commands; `configured` is the mode of settings and policy."""
    _send("mode", ANY_MODEL, None if mode == CONFIGURED else mode)
    click.echo(f"the mode is {mode}")


def _check(settings: Settings, name: str, recording: Path | None) -> None:
    """Raise `BadModel` if the model *name* cannot be loaded, `PromotionRefusedError` if the comparison refuses it."""
    from pipeline.assembly import configured  # noqa: PLC0415 - takes a second to import, as all that loads models
    from pipeline.offline.training.promotion import compared  # noqa: PLC0415 - the same

    models = configured(settings).models
    try:
        candidate = models.read(name)
    except BadModel as error:
        raise BadModel(
            f"model {name} cannot be loaded, and workers could not either: {error}; models are looked for in "
            f"{models.folder} (SESSION_RISK_MODEL_DIR): put it there, or give --force if only workers have it"
        ) from error
    if recording is None:
        return
    found = compared(recording, _champion(models, settings), candidate, settings)
    if refusal := found.refusal():
        raise PromotionRefusedError(
            f"{refusal}; `session-risk compare` shows why. Train {name} on more honest sessions, or give --force"
        )
    click.echo(found.summary())


def _champion(models: Models, settings: Settings) -> Model:
    """The model that decides now: the first of the succession that can be loaded; none if there is no such model."""
    from models.detectors.base import NoDetector  # noqa: PLC0415 - imports NumPy, which other commands need not

    for name in succession(_orders_in_force(settings), settings.model):
        try:
            return models.read(name)
        except BadModel as error:
            click.echo(f"session-risk: model {name} should decide, but cannot be loaded here: {error}", err=True)
    return NoDetector(), None


class PromotionRefusedError(Exception):
    """The model would revoke honest sessions that the deciding one does not; the message names some."""


class NothingPromotedError(LookupError):
    """No model was promoted, so there is nothing to roll back."""

    def __str__(self) -> str:
        return str(self.args[0])


def _orders_in_force(settings: Settings) -> dict[str, ModelControlDict]:
    """The newest order about each model, the oldest first, as workers apply them."""
    orders: dict[str, ModelControlDict] = {}
    with read_topic(Connection.of(settings), MODEL_CONTROL) as (_, values):
        for order in decode_chunk(MODEL_CONTROL, [*values], None, now_ms=FOREVER_MS).events:
            orders.pop(order["model"], None)
            orders[order["model"]] = order
    return orders


def _send(command_name: str, model: str, mode: str | None = None) -> None:
    order = ModelControl.model_validate(
        {
            "command": command_name,
            "model": model,
            "mode": mode,
            "issued_by": current_user(),
            "occurred_at": int(time() * 1000),
        }
    )
    settings = load()
    connection = Connection.of(settings)
    needed = needed_topics(settings.app_id, (), settings.partitions)

    async def send() -> None:
        await check_topics(connection, [topic for topic in needed if topic.name == MODEL_CONTROL])
        async with open_writer(connection) as writer:
            await writer.send(Message(MODEL_CONTROL, model.encode(), encode(order)))
            await writer.flush()

    asyncio.run(send())
