"""Classifier of routes: what a call does to trust, from its method and the words of its path.

Interfaces name the same things in the same way: `POST /api-keys`, `PUT /users/{id}/groups`, `DELETE /audit/sinks/{id}`.
A word counts only if every word before it in the path is known too, so `POST /orders/{id}/tokens` and
`PUT /hiking/trails/{id}` are not classified.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

Step = Literal["create", "grant", "blind"]

_AROUND: Final = frozenset(
    {
        "access",
        "account",
        "accounts",
        "admin",
        "api",
        "applications",
        "apps",
        "clusters",
        "console",
        "directories",
        "directory",
        "environments",
        "iam",
        "identity",
        "management",
        "organisations",
        "organizations",
        "org",
        "orgs",
        "platform",
        "projects",
        "realms",
        "rest",
        "scim",
        "security",
        "settings",
        "subscriptions",
        "system",
        "tenants",
        "workspaces",
    }
)
"""What credentials, roles and audits may lie in; a version (`v1`) too."""
_HOLDERS: Final = frozenset(
    {
        "groups",
        "me",
        "robots",
        "roles",
        "service-accounts",
        "service-principals",
        "user",
        "users",
        "user-groups",
    }
)
"""Holders of credentials and rights."""
_CREDENTIALS: Final = frozenset(
    {
        "access-keys",
        "access-tokens",
        "api-keys",
        "api-tokens",
        "apikeys",
        "app-passwords",
        "client-secrets",
        "credentials",
        "keys",
        "personal-access-tokens",
        "service-accounts",
        "service-principals",
        "ssh-keys",
        "tokens",
    }
)
_RIGHTS: Final = frozenset(
    {
        "grants",
        "groups",
        "members",
        "memberships",
        "permissions",
        "policies",
        "roles",
        "users",
    }
)
"""Words that widen a right under a holder. Alone, a policy may be an insurance and a member anyone."""
_RIGHTS_ANYWHERE: Final = frozenset(
    {
        "access-policies",
        "permissions",
        "role-assignments",
        "role-bindings",
        "role-grants",
        "role-mappings",
    }
)
_AUDITS: Final = frozenset(
    {
        "audit",
        "audit-config",
        "audit-events",
        "audit-log",
        "audit-logs",
        "audit-settings",
        "audit-sinks",
        "audit-trail",
        "audit-trails",
        "auditlogs",
        "log-settings",
        "log-sinks",
        "logging-settings",
    }
)
_LOGS: Final = frozenset(
    {
        "audit",
        "audit-log",
        "audit-logs",
        "auditlogs",
        "logging",
        "logs",
    }
)
_OF_LOGS: Final = frozenset(
    {
        "config",
        "configuration",
        "destinations",
        "retention",
        "settings",
        "sinks",
        "streams",
        "trails",
    }
)
"""Words under one of `_LOGS` that decide whether a log is written."""

_ROUTE: Final = re.compile(r"([A-Z]+) (/[^?#\s]*)")
_VERSION: Final = re.compile(r"v[0-9][0-9a-z.]*")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@lru_cache(maxsize=4096)
def step_of(operation: str) -> Step | None:
    """Return the step of the privilege chain that *operation* takes; `None` for none, or if its name is not a route.

    >>> step_of("POST /v1/apiKeys"), step_of("PUT /users/{id}/avatar")
    ('create', None)
    """
    route = _ROUTE.match(operation)
    if route is None:
        return None
    method, path = route.groups()
    segments = [_word(segment) for segment in path.split("/") if segment]
    words = [word for word in segments if word and not _VERSION.fullmatch(word)]
    if not words:
        return None
    *before, word = words
    if method == "POST" and segments[-1] and _creates(before, word):
        return "create"
    if method in ("POST", "PUT", "PATCH") and _grants(before, word, alone=not segments[-1]):
        return "grant"
    return "blind" if method in ("PUT", "PATCH", "DELETE") and _blinds(before, word) else None


def _word(segment: str) -> str:
    """Return a segment in lower case with hyphens; empty for a parameter."""
    return "" if segment[0] in "{:<*" else _HUMP.sub("-", segment).replace("_", "-").lower()


def _creates(before: list[str], word: str) -> bool:
    """Return whether a POST to *word* creates a user of an organisation or a credential."""
    return _AROUND.issuperset(before) if word == "users" else word in _CREDENTIALS and _is_known(before)


def _grants(before: list[str], word: str, *, alone: bool) -> bool:
    """Return whether a write to *word* grants a right. *alone*: the path ends in an id, so it changes a role itself."""
    if not _is_known(before):
        return False
    held = bool(before) and before[-1] in _HOLDERS and before[-1] != "me"
    return word in _RIGHTS_ANYWHERE or (word in _RIGHTS and held) or (word == "roles" and alone)


def _blinds(before: list[str], word: str) -> bool:
    if before and before[-1] in _LOGS and word in _OF_LOGS:
        return _AROUND.issuperset(before[:-1])
    return word in _AUDITS and _AROUND.issuperset(before)


def _is_known(before: list[str]) -> bool:
    return (_AROUND | _HOLDERS).issuperset(before)
