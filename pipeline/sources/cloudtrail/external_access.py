"""External access: whether a request gives access to another account or to everybody.

This is decided from the request alone, as the owner of the resource would read it: policies attached to a resource,
lists of accounts it is shared with, access lists, and firewall rules that open administration ports to every address.
No request says which other accounts have the same owner: here they all count as external.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_ACCOUNT: Final = re.compile(r"(?:arn:[\w-]+:(?:iam|sts)::)?(\d{12})(?::.*)?")
_GRANTEES: Final = frozenset(
    {
        "userid",
        "group",
        "principal",
        "principals",
        "granteeprincipal",
        "valuestoadd",
        "accountids",
        "accountidstoadd",
        "awsaccountids",
        "accountwithrestoreaccess",
    }
)
"""Request parameters that name who gets access, in lower case, as services spell them differently."""
_EVERYBODY: Final = frozenset({"*", "all"})
_PUBLIC: Final = re.compile(r"public-read(-write)?|authenticated-read|.*/global/(AllUsers|AuthenticatedUsers)")
_ADMINISTRATION: Final = (22, 3389)
"""Ports through which hosts are administered (CIS AWS Foundations); those of web servers are open on purpose."""
_FIREWALL: Final = frozenset({"ec2:AuthorizeSecurityGroupIngress", "ec2:ModifySecurityGroupRules"})
_NARROWED: Final = frozenset({"condition", "principalorgid"})
"""Beside these, "everybody" means everybody who fulfils a condition, which cannot be evaluated here."""
_MAX_DEPTH: Final = 12


def opens_outside(operation: str, request: Mapping[str, Any], account: str) -> bool:
    """Whether *request* of *operation*, one that can share, gives access to others than its own *account*."""
    if operation in _FIREWALL:
        return any(_is_wide_open(rule) for rule in _mappings(request, 0))
    if operation == "lambda:CreateFunctionUrlConfig":
        return request.get("authType") == "NONE"
    return any(_is_outside(name, account) for name in _grantees(request, 0))


def _is_outside(name: str, account: str) -> bool:
    match = _ACCOUNT.fullmatch(name)
    return name in _EVERYBODY or (match is not None and match[1] != account)


def _grantees(value: Any, depth: int) -> Iterator[str]:
    """Everybody to whom *value* gives access: accounts, ARNs, ``*`` for all."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            yield from _grantees(item, depth + 1)
    elif isinstance(value, dict):
        yield from _of_policy(value) if "Statement" in value else _of_parameters(value, depth)
    elif isinstance(value, str) and value.lstrip().startswith("{"):
        yield from _grantees(_json(value), depth + 1)
    elif isinstance(value, str) and _PUBLIC.fullmatch(value):
        yield "*"


def _of_parameters(parameters: Mapping[str, Any], depth: int) -> Iterator[str]:
    """Grantees among the parameters of an object; a parameter that removes access has none."""
    for name, value in parameters.items():
        if name.lower() in _GRANTEES:
            yield from _unless_narrowed(_texts(value), parameters)
        if not name.lower().startswith("remove"):
            yield from _grantees(value, depth + 1)


def _of_policy(policy: Mapping[str, Any]) -> Iterator[str]:
    statements = policy["Statement"]
    for statement in statements if isinstance(statements, list) else [statements]:
        if isinstance(statement, dict) and statement.get("Effect") == "Allow":
            principal = statement.get("Principal")
            named = principal.get("AWS") if isinstance(principal, dict) else principal
            yield from _unless_narrowed(_texts(named), statement)


def _unless_narrowed(names: Iterable[str], beside: Mapping[str, Any]) -> Iterator[str]:
    narrowed = any(name.lower() in _NARROWED and beside[name] for name in beside)
    yield from (name for name in names if name not in _EVERYBODY or not narrowed)


def _is_wide_open(rule: Mapping[str, Any]) -> bool:
    """Whether a firewall *rule* opens an administration port to every address."""
    fields = {name.lower(): value for name, value in rule.items()}
    if not any(text.endswith("/0") for text in _addresses(rule)):
        return False
    first, last = fields.get("fromport"), fields.get("toport")
    if not isinstance(first, int) or not isinstance(last, int) or first < 0:
        return str(fields.get("ipprotocol")) == "-1"
    return any(first <= port <= last for port in _ADMINISTRATION)


def _addresses(rule: Mapping[str, Any]) -> Iterator[str]:
    for inner in _mappings(rule, 0):
        yield from (text for name, text in inner.items() if "cidr" in name.lower() and isinstance(text, str))


def _mappings(value: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """Every object in *value*, including itself."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield from _mappings(item, depth + 1)


def _texts(value: Any) -> Iterator[str]:
    yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
