"""Events of producers that break the contract only where nothing depends on it: kept, and mended.

A gateway that passes a `User-Agent` of any length on would otherwise let a caller hide a call by sending a
long one. What is too long is cut, what can only mean one thing is read as that, the rest of what is wrong is
left out.
"""

import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, Final

from pydantic_core import ErrorDetails, SchemaValidator, ValidationError, from_json

from schemas.events import Event

Plain = dict[str, Any]
Place = tuple[int | str, ...]

MOST_ROUNDS: Final = 8
"""Validations until whatever is still wrong goes: one mend may uncover the next."""
_MARK: Final = 17
"""Characters of the mark on a name that was cut."""
_OF_TOKENS: Final = frozenset({"token_id", "key_thumbprint"})
"""Too long, it is no hash but a secret itself: nothing of it is kept but a hash."""
_GONE: Final = object()
_REQUIRED: Final = {"action": "literal_error", "operation": "string_too_long"}
"""Required members that are mended all the same, and the one fault for which: no caller chooses an action's
name, one may choose the length of a path."""


class Mender:
    """Mends records of *model*; *validator* is what refused them.

    Mended are the members that an event may lack. What an event is, whose, and when it was, is never guessed.
    """

    def __init__(self, model: type[Event], validator: SchemaValidator) -> None:
        self._validate = validator.validate_python
        self._optional = {name for name, field in model.model_fields.items() if field.default is None}
        properties = model.model_json_schema()["properties"]
        self._named = {name for name, schema in properties.items() if "minLength" in str(schema)}

    def mend(self, value: bytes, error: ValidationError) -> tuple[Plain, tuple[str, ...]] | None:
        """The event in *value* and the names of its mended members; `None`: *error* stands.

        The same bytes always give the same event.
        """
        faults = error.errors(include_url=False)
        if not self._may_be_mended(faults):
            return None
        record: Plain = from_json(value)
        mended = {str(fault["loc"][0]) for fault in faults}
        for rounds in range(MOST_ROUNDS):
            for name in {str(fault["loc"][0]): None for fault in faults}:
                own = [fault for fault in faults if fault["loc"][0] == name]
                record[name] = None if rounds == MOST_ROUNDS - 1 else self._mended(name, record[name], own)
            try:
                return self._validate(record), tuple(sorted(mended))
            except ValidationError as more:
                faults = more.errors(include_url=False)
            if not self._may_be_mended(faults):
                return None
        return None

    def _may_be_mended(self, faults: Iterable[ErrorDetails]) -> bool:
        return all(fault["loc"] and (fault["loc"][0] in self._optional or _is_name(fault)) for fault in faults)

    def _mended(self, name: str, value: Any, faults: list[ErrorDetails]) -> Any:
        """*value* without its *faults*; what cannot be mended is `None`, in a list only the item goes."""
        whole = next((fault for fault in faults if len(fault["loc"]) == 1), None)
        if whole is not None:
            mended = self._corrected(name, whole)
            return None if mended is _GONE else mended
        items = list(value)
        for fault in faults:
            items[int(fault["loc"][1])] = self._corrected(name, fault)
        return [item for item in items if item is not _GONE]

    def _corrected(self, name: str, fault: ErrorDetails) -> Any:
        if fault["type"] == "string_too_long" and name in _OF_TOKENS:
            return f"sha256:{sha256(fault['input'].encode()).hexdigest()}"
        if fault["type"] == "string_too_long":
            return _cut(fault["input"], fault["ctx"]["max_length"], apart=name in self._named)
        correct = _CORRECTIONS.get(fault["type"])
        corrected = _GONE if correct is None else correct(fault["input"], fault.get("ctx", {}))
        return "other" if corrected is _GONE and name == "action" else corrected


def _is_name(fault: ErrorDetails) -> bool:
    return _REQUIRED.get(str(fault["loc"][0])) == fault["type"] and isinstance(fault["input"], str)


def _cut(text: str, length: int, *, apart: bool) -> str:
    """The head of *text*; if names must stay *apart*, a mark tells it from others with that head."""
    if not apart or length <= 2 * _MARK:
        return text[:length]
    return f"{text[: length - _MARK]}~{sha256(text.encode()).hexdigest()[: _MARK - 1]}"


def _integer(value: Any, _: Plain) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,16}", value) else _GONE


def _number(value: Any, _: Plain) -> Any:
    readable = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,16}(\.[0-9]{1,16})?", value)
    return float(value) if readable else _GONE


def _boolean(value: Any, _: Plain) -> Any:
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower(), _GONE)


def _text(value: Any, _: Plain) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _GONE


def _upper(value: str, context: Plain) -> Any:
    return value.upper() if value.isascii() and re.fullmatch(context["pattern"], value.upper()) else _GONE


def _words(value: Any, _: Plain) -> Any:
    return value.split() if isinstance(value, str) else _GONE


def _choice(value: Any, context: Plain) -> Any:
    """The one choice that differs by case and punctuation only: `iOS`, `Wi-Fi`."""
    if not isinstance(value, str):
        return _GONE
    meant = [item for item in re.findall(r"'([^']*)'", context["expected"]) if _letters(item) == _letters(value)]
    return meant[0] if len(meant) == 1 else _GONE


def _letters(word: str) -> str:
    return re.sub(r"[\s_-]", "", word).lower()


_CORRECTIONS: Final[dict[str, Callable[[Any, Plain], Any]]] = {
    "bool_type": _boolean,
    "float_type": _number,
    "int_from_float": _integer,
    "int_type": _integer,
    "list_type": _words,
    "literal_error": _choice,
    "string_pattern_mismatch": _upper,
    "string_type": _text,
    "too_long": lambda value, context: value[: context["max_length"]],
}
