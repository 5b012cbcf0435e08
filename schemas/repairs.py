"""Repairs of producers' events that break the contract only in fields they could do without.

A gateway that passes on a `User-Agent` of any length would otherwise let a caller hide a call by sending a long one. A
value that is too long is cut, one that can only mean one thing is read as that, and any other wrong value is left out.
"""

import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, Final

from pydantic_core import ErrorDetails, SchemaValidator, ValidationError, from_json

from schemas.events import Event

Plain = dict[str, Any]
Place = tuple[int | str, ...]

MAX_ROUNDS: Final = 8
"""Validations until all that is still wrong is left out: one repair may uncover the next fault."""
_SUFFIX_LENGTH: Final = 17
"""Characters of the hash, with its tilde, at the end of a name that was cut."""
_TOKEN_FIELDS: Final = frozenset({"token_id", "key_thumbprint"})
"""A value that is too long is no hash but may be the secret itself: only its hash is kept."""
_LEFT_OUT: Final = object()
_REPAIRABLE: Final = {"action": "literal_error", "operation": "string_too_long"}
"""Required fields that are repaired, too, and the one fault for which they are: a caller can choose the length of a
path, but not the name of an action."""


class Repairer:
    """Repairs records of *model* that *validator* refused.

    Optional fields are repaired. What an event is, whose it is and when it happened are never guessed.
    """

    def __init__(self, model: type[Event], validator: SchemaValidator) -> None:
        self._validate = validator.validate_python
        self._optional = {name for name, field in model.model_fields.items() if field.default is None}
        properties = model.model_json_schema()["properties"]
        self._named = {name for name, schema in properties.items() if "minLength" in str(schema)}

    def repair(self, value: bytes, error: ValidationError) -> tuple[Plain, tuple[str, ...]] | None:
        """The event in *value* and the names of its repaired fields; `None` if it cannot be repaired.

        The same bytes always give the same event.
        """
        faults = error.errors(include_url=False)
        if not self._is_repairable(faults):
            return None
        record: Plain = from_json(value)
        repaired = {str(fault["loc"][0]) for fault in faults}
        for rounds in range(MAX_ROUNDS):
            for name in {str(fault["loc"][0]): None for fault in faults}:
                own = [fault for fault in faults if fault["loc"][0] == name]
                record[name] = None if rounds == MAX_ROUNDS - 1 else self._repaired(name, record[name], own)
            try:
                return self._validate(record), tuple(sorted(repaired))
            except ValidationError as more:
                faults = more.errors(include_url=False)
            if not self._is_repairable(faults):
                return None
        return None

    def _is_repairable(self, faults: Iterable[ErrorDetails]) -> bool:
        return all(
            fault["loc"] and (fault["loc"][0] in self._optional or _is_repairable_name(fault)) for fault in faults
        )

    def _repaired(self, name: str, value: Any, faults: list[ErrorDetails]) -> Any:
        """*value* without its *faults*: `None` if it cannot be repaired; a list loses only its wrong items."""
        whole = next((fault for fault in faults if len(fault["loc"]) == 1), None)
        if whole is not None:
            corrected = self._corrected(name, whole)
            return None if corrected is _LEFT_OUT else corrected
        items = list(value)
        for fault in faults:
            items[int(fault["loc"][1])] = self._corrected(name, fault)
        return [item for item in items if item is not _LEFT_OUT]

    def _corrected(self, name: str, fault: ErrorDetails) -> Any:
        if fault["type"] == "string_too_long" and name in _TOKEN_FIELDS:
            return f"sha256:{sha256(fault['input'].encode()).hexdigest()}"
        if fault["type"] == "string_too_long":
            return _cut(fault["input"], fault["ctx"]["max_length"], distinct=name in self._named)
        correct = _CORRECTIONS.get(fault["type"])
        corrected = _LEFT_OUT if correct is None else correct(fault["input"], fault.get("ctx", {}))
        return "other" if corrected is _LEFT_OUT and name == "action" else corrected


def _is_repairable_name(fault: ErrorDetails) -> bool:
    return _REPAIRABLE.get(str(fault["loc"][0])) == fault["type"] and isinstance(fault["input"], str)


def _cut(text: str, length: int, *, distinct: bool) -> str:
    """The beginning of *text*; if names must stay *distinct*, it ends with a hash of the whole."""
    if not distinct or length <= 2 * _SUFFIX_LENGTH:
        return text[:length]
    return f"{text[: length - _SUFFIX_LENGTH]}~{sha256(text.encode()).hexdigest()[: _SUFFIX_LENGTH - 1]}"


def _integer(value: Any, _: Plain) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,16}", value) else _LEFT_OUT


def _number(value: Any, _: Plain) -> Any:
    readable = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,16}(\.[0-9]{1,16})?", value)
    return float(value) if readable else _LEFT_OUT


def _boolean(value: Any, _: Plain) -> Any:
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower(), _LEFT_OUT)


def _text(value: Any, _: Plain) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _LEFT_OUT


def _upper(value: str, context: Plain) -> Any:
    return value.upper() if value.isascii() and re.fullmatch(context["pattern"], value.upper()) else _LEFT_OUT


def _words(value: Any, _: Plain) -> Any:
    return value.split() if isinstance(value, str) else _LEFT_OUT


def _choice(value: Any, context: Plain) -> Any:
    """The one choice from which *value* differs only in case and punctuation: `iOS`, `Wi-Fi`."""
    if not isinstance(value, str):
        return _LEFT_OUT
    choices = [item for item in re.findall(r"'([^']*)'", context["expected"]) if _letters(item) == _letters(value)]
    return choices[0] if len(choices) == 1 else _LEFT_OUT


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
