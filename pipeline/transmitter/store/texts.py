"""Words of strangers made fit to be stored: PostgreSQL refuses what SQLite takes."""

from __future__ import annotations

import re
from typing import Final

_ODD: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_ID: Final = re.compile(r"[!-~]{1,128}")


def clean(text: str, most: int) -> str:
    """Return *text* in at most *most* characters, with a space for control characters and lone surrogates."""
    return _ODD.sub(" ", text[: 4 * most]).strip()[:most]


def may_be_id(text: str) -> bool:
    """Tell whether *text* can be an id, visible ASCII of at most 128 characters: others are not looked up."""
    return _ID.fullmatch(text) is not None
