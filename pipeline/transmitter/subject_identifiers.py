"""Validation of subject identifiers that receivers send (RFC 9493 §3.2, SSF 1.0 §3): a table of formats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

TEXT: Final = "text"
TEXTS: Final = "texts"
"""Kinds of fields: a string, or a list of strings."""

FORMS: Final[Mapping[str, Mapping[str, str]]] = {
    "account": {"uri": TEXT},
    "email": {"email": TEXT},
    "iss_sub": {"iss": TEXT, "sub": TEXT},
    "opaque": {"id": TEXT},
    "phone_number": {"phone_number": TEXT},
    "did": {"url": TEXT},
    "uri": {"uri": TEXT},
    "jwt_id": {"iss": TEXT, "jti": TEXT},
    "saml_assertion_id": {"issuer": TEXT, "assertion_id": TEXT},
    "ip-addresses": {"ip-addresses": TEXTS},
}
"""Fields of each simple format; all are required, and no other is allowed (RFC 9493 §3)."""

MAX_LENGTH: Final = 1024
MAX_ITEMS: Final = 16


def find_error(subject: Mapping[str, Any]) -> str | None:
    """Describe what is wrong with a subject identifier (simple, `aliases` or `complex`); `None` if it is valid."""
    form = subject.get("format")
    if form == "complex":
        return _complex_error({name: value for name, value in subject.items() if name != "format"})
    if form == "aliases":
        return _aliases_error(subject)
    return _simple_error(subject)


def _complex_error(fields: Mapping[str, Any]) -> str | None:
    """SSF 1.0 §3.3: the fields are simple identifiers of one principal; further names are allowed."""
    if not fields or len(fields) > MAX_ITEMS:
        return f"a complex subject has 1 to {MAX_ITEMS} fields besides format"
    for name, field in fields.items():
        if not is_text(name) or not isinstance(field, Mapping):
            return "a field of a complex subject is a simple subject identifier"
        if (error := _simple_error(field)) is not None:
            return f"{name}: {error}"
    return None


def _aliases_error(subject: Mapping[str, Any]) -> str | None:
    """RFC 9493 §3.2.8: a list of identifiers, none of which is `aliases` again."""
    identifiers = subject.get("identifiers")
    if set(subject) != {"format", "identifiers"} or not isinstance(identifiers, list):
        return "format aliases has the field identifiers, a list, and no other"
    if not 0 < len(identifiers) <= MAX_ITEMS or not all(isinstance(item, Mapping) for item in identifiers):
        return f"identifiers is a list of 1 to {MAX_ITEMS} subject identifiers"
    return next((error for item in identifiers if (error := _simple_error(item)) is not None), None)


def _simple_error(subject: Mapping[str, Any]) -> str | None:
    form = subject.get("format")
    if not isinstance(form, str) or form not in FORMS:
        return f"format is one of {', '.join(FORMS)}, aliases or complex"
    fields = FORMS[form]
    if set(subject) != {"format", *fields}:
        return f"format {form} has the fields {', '.join(fields)} and no other"
    if not all(_is_valid_field(subject[name], kind) for name, kind in fields.items()):
        return f"the fields of format {form} are strings of 1 to {MAX_LENGTH} characters"
    return None


def _is_valid_field(value: Any, kind: str) -> bool:
    if kind == TEXTS:
        return isinstance(value, list) and 0 < len(value) <= MAX_ITEMS and all(is_text(item) for item in value)
    return is_text(value)


def is_text(value: Any) -> bool:
    """Whether *value* is a string that every store accepts: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_LENGTH or "\x00" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def canonical(subject: Mapping[str, Any]) -> str:
    """The string that two subject identifiers share if, and only if, they are identical (SSF 1.0 §8.1.3.1)."""
    return json.dumps(subject, sort_keys=True, separators=(",", ":"))


def key(text: str) -> str:
    """The database key (SHA-256) of an identifier with the `canonical` form *text*."""
    return hashlib.sha256(text.encode()).hexdigest()


def schema() -> dict[str, Any]:
    """The JSON Schema of what `find_error` accepts."""
    text = {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH, "pattern": "^[^\\x00]*$"}
    texts = {"type": "array", "items": text, "minItems": 1, "maxItems": MAX_ITEMS}
    simple = {
        "anyOf": [
            _object(form, {name: texts if kind == TEXTS else text for name, kind in fields.items()})
            for form, fields in FORMS.items()
        ]
    }
    identifiers = {"type": "array", "items": simple, "minItems": 1, "maxItems": MAX_ITEMS}
    complex_schema = {
        "type": "object",
        "properties": {"format": {"const": "complex"}},
        "required": ["format"],
        "propertyNames": text,
        "additionalProperties": simple,
        "minProperties": 2,
        "maxProperties": MAX_ITEMS + 1,
    }
    return {"anyOf": [*simple["anyOf"], _object("aliases", {"identifiers": identifiers}), complex_schema]}


def _object(form: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    properties = {"format": {"const": form}, **fields}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
