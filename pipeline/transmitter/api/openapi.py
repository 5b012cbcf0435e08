"""The OpenAPI document: what every operation answers, and where tokens come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.api import paths
from pipeline.transmitter.api.errors import Refusal
from pipeline.transmitter.api.paths import Addresses

TITLE: Final = "session-risk transmitter"
TEXT: Final = (
    "OpenID Shared Signals Framework 1.0: a receiver finds the transmitter by its issuer, makes a stream and "
    "gets security event tokens pushed (RFC 8935) or polls them (RFC 8936)."
)

TAGS: Final = [
    {"name": "discovery", "description": "Where everything is, and the keys. Asked by anybody."},
    {"name": "tokens", "description": "Access tokens for receivers without an authorization server."},
    {"name": "streams", "description": "A receiver makes streams and manages its own (SSF 1.0 §8.1)."},
    {"name": "subjects", "description": "Of whom a stream hears; of everybody to begin with."},
    {"name": "delivery", "description": "Polling (RFC 8936). Pushes (RFC 8935) go the other way."},
    {"name": "revocations", "description": "What became of a session that was to end."},
]

_WORDS: Final[Mapping[int, str]] = {
    400: "The request is not as it should be.",
    401: "No token, or one that is not good.",
    403: "The token is not good for this, the stream is not the receiver's to change, or lacks too many.",
    404: "The receiver has no such stream.",
    408: "The body did not come in time.",
    409: "The receiver has as many streams as it may have.",
    413: "The body is too long.",
    414: "The address is too long.",
    429: "Too often; `Retry-After` says when again.",
    500: "A mistake of the transmitter's.",
    503: "The store, or what is behind, does not answer just now; `Retry-After` says when again.",
}
_RETRY: Final = {"Retry-After": {"description": "Seconds", "schema": {"type": "string"}}}
_CHALLENGE: Final = {"WWW-Authenticate": {"description": "RFC 6750 §3", "schema": {"type": "string"}}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What an operation answers when it refuses: *statuses*, and those that any may have."""
    headers = {401: _CHALLENGE, 403: _CHALLENGE, 429: _RETRY, 503: _RETRY}
    return {
        status: {"model": Refusal, "description": _WORDS[status]}
        | ({"headers": headers[status]} if status in headers and status != 403 else {})
        for status in sorted({*statuses, 408, 413, 414, 429, 500, 503})
    }


def form_body(**members: str) -> dict[str, Any]:
    """The body of an OAuth request (RFC 6749 §4.4.2), with what each member is; *_* at its end: optional."""
    properties = {name.rstrip("_"): {"type": "string", "description": text} for name, text in members.items()}
    required = [name for name in members if not name.endswith("_")]
    schema = {"type": "object", "properties": properties, "required": required}
    return {
        "requestBody": {
            "required": True,
            "content": {"application/x-www-form-urlencoded": {"schema": schema}},
        }
    }


def describe(app: FastAPI, settings: TransmitterSettings) -> None:
    """Finish the document of *app* once all operations are in it."""
    at = Addresses(settings.issuer)
    build = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = build()
            document["servers"] = [{"url": settings.issuer.removesuffix("/").removesuffix(at.stem)}]
            _without_422(document)
            _with_schemes(document, at, settings)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _without_422(document: dict[str, Any]) -> None:
    """The framework writes 422 for what it finds invalid; here that is 400, as SSF 1.0 §8 says."""
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _with_schemes(document: dict[str, Any], at: Addresses, settings: TransmitterSettings) -> None:
    schemes = document["components"]["securitySchemes"]
    if settings.token_issuer is None:
        schemes["oauth2"]["flows"]["clientCredentials"]["tokenUrl"] = at.url(paths.TOKEN)
        schemes["client"] = {"type": "http", "scheme": "basic", "description": "RFC 6749 §2.3.1"}
        return
    text = f"A JWT of {settings.token_issuer} with the scope ssf.read or ssf.manage (RFC 9068)."
    schemes["oauth2"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": text}
    for operations in document["paths"].values():
        for operation in operations.values():
            if "security" in operation:  # scopes belong to OAuth 2.0 schemes only
                operation["security"] = [{"oauth2": []}]
