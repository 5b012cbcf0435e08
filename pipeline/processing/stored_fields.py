"""Stored JSON objects read field by field, by name: what an older or a newer version wrote is read all the same.

A field that this version does not know is ignored, one that is missing has its initial value. So adding a field
costs no state, neither when a version is put into use nor when it is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_NO_NAMES: Final[Mapping[str, str]] = {}


def known_fields(record_type: Any, stored: dict[str, Any], renamed: Mapping[str, str] = _NO_NAMES) -> dict[str, Any]:
    """The fields of *stored* that the dataclass *record_type* has; *renamed* maps former names to present ones.

    Raises:
        AttributeError: *stored* is no JSON object.
    """
    known = record_type.__dataclass_fields__
    fields = {renamed.get(name, name): value for name, value in stored.items()}
    return {name: value for name, value in fields.items() if name in known}
