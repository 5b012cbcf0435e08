"""What the route of a call does to trust, read from its method and the words of its path.

Interfaces name the same things alike: `POST /api-keys`, `PUT /users/{id}/groups`, `DELETE /audit/sinks/{id}`.
A word counts only where everything before it in the path is known too, so that `POST /orders/{id}/tokens` and
`PUT /hiking/trails/{id}` are none of it.
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
"""Who has credentials and rights."""
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
"""What widens a right where somebody holds it: alone, a policy may be an insurance, a member anybody's."""
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
"""What makes a log be kept, under a word of `_LOGS`."""

_ROUTE: Final = re.compile(r"([A-Z]+) (/[^?#\s]*)")
_VERSION: Final = re.compile(r"v[0-9][0-9a-z.]*")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@lru_cache(maxsize=4096)
def step_of(operation: str) -> Step | None:
    """The step of the privilege chain that *operation* takes; `None`: none, or its name is no route.

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
    """A segment in lower case with hyphens; empty for a parameter."""
    return "" if segment[0] in "{:<*" else _HUMP.sub("-", segment).replace("_", "-").lower()


def _creates(before: list[str], word: str) -> bool:
    """A user of an organisation, a credential of anybody."""
    return _AROUND.issuperset(before) if word == "users" else word in _CREDENTIALS and _is_known(before)


def _grants(before: list[str], word: str, *, alone: bool) -> bool:
    """A right for its holder. *alone*: one thing is meant by its id: a role itself is changed."""
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
