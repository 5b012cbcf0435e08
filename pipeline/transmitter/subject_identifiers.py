"""Subject identifiers as receivers send them, RFC 9493 §3.2 and SSF 1.0 §3: a table of forms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

TEXT: Final = "text"
TEXTS: Final = "texts"

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
"""Members of each simple form; all are required, and no other may be there (RFC 9493 §3)."""

MAX_LENGTH: Final = 1024
MAX_ITEMS: Final = 16


def find_error(subject: Mapping[str, Any]) -> str | None:
    """Say what is wrong with a subject identifier, simple, `aliases` or `complex`; nothing if it is right."""
    form = subject.get("format")
    if form == "complex":
        return _fault_of_complex({name: value for name, value in subject.items() if name != "format"})
    if form == "aliases":
        return _fault_of_aliases(subject)
    return _fault_of_simple(subject)


def _fault_of_complex(members: Mapping[str, Any]) -> str | None:
    """SSF 1.0 §3.3: members are simple identifiers of one principal; further names are allowed."""
    if not members or len(members) > MAX_ITEMS:
        return f"a complex subject has 1 to {MAX_ITEMS} members beside format"
    for name, member in members.items():
        if not is_text(name) or not isinstance(member, Mapping):
            return "a member of a complex subject is a simple subject identifier"
        if (wrong := _fault_of_simple(member)) is not None:
            return f"{name}: {wrong}"
    return None


def _fault_of_aliases(subject: Mapping[str, Any]) -> str | None:
    """RFC 9493 §3.2.8: a list of identifiers, none of which is `aliases` again."""
    found = subject.get("identifiers")
    if set(subject) != {"format", "identifiers"} or not isinstance(found, list):
        return "format aliases has the member identifiers, a list, and no other"
    if not 0 < len(found) <= MAX_ITEMS or not all(isinstance(item, Mapping) for item in found):
        return f"identifiers are 1 to {MAX_ITEMS} subject identifiers"
    return next((wrong for item in found if (wrong := _fault_of_simple(item)) is not None), None)


def _fault_of_simple(subject: Mapping[str, Any]) -> str | None:
    form = subject.get("format")
    if not isinstance(form, str) or form not in FORMS:
        return f"format is one of {', '.join(FORMS)}, aliases or complex"
    members = FORMS[form]
    if set(subject) != {"format", *members}:
        return f"format {form} has the members {', '.join(members)} and no other"
    if not all(_fits(subject[name], kind) for name, kind in members.items()):
        return f"the members of format {form} are texts of 1 to {MAX_LENGTH} characters"
    return None


def _fits(value: Any, kind: str) -> bool:
    if kind == TEXTS:
        return isinstance(value, list) and 0 < len(value) <= MAX_ITEMS and all(is_text(item) for item in value)
    return is_text(value)


def is_text(value: Any) -> bool:
    """Whether *value* is a text that every store takes: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_LENGTH or "\x00" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def canonical(subject: Mapping[str, Any]) -> str:
    """The text that two subject identifiers share if, and only if, they are identical (SSF 1.0 §8.1.3.1)."""
    return json.dumps(subject, sort_keys=True, separators=(",", ":"))


def key(text: str) -> str:
    """What an identifier of the `canonical` *text* is found by."""
    return hashlib.sha256(text.encode()).hexdigest()


def schema() -> dict[str, Any]:
    """What `find_error` lets pass, as JSON Schema says it."""
    text = {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH, "pattern": "^[^\\x00]*$"}
    texts = {"type": "array", "items": text, "minItems": 1, "maxItems": MAX_ITEMS}
    simple = {
        "anyOf": [
            _object(form, {name: texts if kind == TEXTS else text for name, kind in members.items()})
            for form, members in FORMS.items()
        ]
    }
    several = {"type": "array", "items": simple, "minItems": 1, "maxItems": MAX_ITEMS}
    complex_ = {
        "type": "object",
        "properties": {"format": {"const": "complex"}},
        "required": ["format"],
        "propertyNames": text,
        "additionalProperties": simple,
        "minProperties": 2,
        "maxProperties": MAX_ITEMS + 1,
    }
    return {"anyOf": [*simple["anyOf"], _object("aliases", {"identifiers": several}), complex_]}


def _object(form: str, members: Mapping[str, Any]) -> dict[str, Any]:
    properties = {"format": {"const": form}, **members}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
