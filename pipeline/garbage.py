"""Python's search for objects that refer to each other in circles, set to how this program makes objects.

A chunk is thousands of short-lived tuples and dictionaries, hardly any in a circle: reference counts free
them. Searching after every 700 of them, as Python does by itself, is a sixth of a worker's time.
"""

from __future__ import annotations

import gc
from typing import Final

EVERY: Final = (50_000, 20, 20)
"""Objects made and not freed before the youngest are searched; how many of these searches go by before older
ones are searched too."""


def search_seldom() -> None:
    """Search as often as this program needs, and never again what is there by now: it stays to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*EVERY)
