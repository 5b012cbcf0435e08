"""Inventory: the models of a folder, what each can be used for, and what the orders on `model-control` use it for.

It says what a worker with this folder would do; one with other folders may decide by another model of the succession.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from models.artefacts import CARD, BadModel
from models.model_card import read
from pipeline.control.reloader import Models
from pipeline.control.succession import ANY_MODEL, succession
from schemas.records import ModelControlDict

Use = Literal["decides", "previous", "promoted", "challenger", "retired", "unused"]
"""What a model is used for.

- *decides*: it is the champion: the first of the succession that can be loaded.
- *previous*: it decides if the champion is retired, as `rollback` does.
- *promoted*: another one of the succession: promoted before these two, or not loadable.
- *challenger*: its decisions are recorded and have no effect.
- *retired*: it was taken back; *unused*: there is no order about it, and it is not the configured one.
"""
USES: Final[tuple[Use, ...]] = ("decides", "previous", "promoted", "challenger", "retired", "unused")


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model that is in the folder, configured, or ordered.

    Attributes:
        id: ``name@hash``, None if it cannot be loaded; *problem* says why then.
        order: the newest order about it, None if there is none.
        card: its card, empty if it has none or cannot be loaded.
    """

    name: str
    use: Use
    id: str | None
    problem: str = ""
    order: ModelControlDict | None = None
    card: Mapping[str, Any] = field(default_factory=dict)


def inventory(models: Models, orders: Mapping[str, ModelControlDict], configured: str) -> list[ListedModel]:
    """Return every model in the folder of *models*, *configured*, or ordered: by use as in `USES`, then by name.

    *orders* has the newest order for each model, the oldest first; *configured* is the model without any order.
    """
    names = {*models.names(), *succession(orders, configured), *orders} - {ANY_MODEL}
    loaded = {name: _loaded(models, name) for name in sorted(names)}
    usable = [name for name in succession(orders, configured) if not loaded[name].problem]
    ranks: dict[str, Use] = {**dict.fromkeys(succession(orders, configured), "promoted")}
    ranks |= zip(usable, ("decides", "previous"), strict=False)
    listed = [
        ListedModel(
            name, ranks.get(name) or _unranked(orders.get(name)), found.id, found.problem, orders.get(name), found.card
        )
        for name, found in loaded.items()
    ]
    return sorted(listed, key=lambda model: (USES.index(model.use), model.name))


@dataclass(frozen=True, slots=True)
class _Loaded:
    id: str | None
    problem: str
    card: Mapping[str, Any]


def _loaded(models: Models, name: str) -> _Loaded:
    try:
        detector, _ = models.read(name)
        folder = models.path(name)
        return _Loaded(detector.id, "", read(folder) if (folder / CARD).is_file() else {})
    except BadModel as error:
        return _Loaded(None, str(error), {})


def _unranked(order: ModelControlDict | None) -> Use:
    if order is None:
        return "unused"
    return "challenger" if order["command"] == "shadow" else "retired"
