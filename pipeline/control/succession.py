"""Succession of models: which model decides, computed from the model-control orders.

Apart from the reloader, because commands need it without loading any model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas.records import ModelControlDict

ANY_MODEL: Final = "*"
"""The model name in an order that sets the mode of whichever model decides."""


def succession(orders: Mapping[str, ModelControlDict], configured: str) -> list[str]:
    """Return the names of the models that may decide, the preferred one first.

    *orders* has the newest order for each model, the oldest first; *configured* is the model without any order.
    """
    promoted = [name for name, order in orders.items() if _promotes(order)]
    order = orders.get(configured)
    retired = order is not None and order["command"] == "retire"
    return list(dict.fromkeys([*reversed(promoted), *(() if retired else (configured,))]))


def _promotes(order: ModelControlDict) -> bool:
    """Whether the order makes its model decide: it promotes the model, or sets the mode that it decides in."""
    command, model = order["command"], order["model"]
    return command == "promote" or (command == "mode" and model != ANY_MODEL)
