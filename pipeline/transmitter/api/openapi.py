"""OpenAPI document: the error responses of every operation, and the security schemes."""

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
    "OpenID Shared Signals Framework 1.0: a receiver discovers the transmitter by its issuer, creates a stream and "
    "gets security event tokens pushed (RFC 8935) or polls them (RFC 8936)."
)

TAGS: Final = [
    {"name": "discovery", "description": "Endpoints and keys, without authentication."},
    {"name": "tokens", "description": "Access tokens for receivers without an authorization server."},
    {"name": "streams", "description": "A receiver creates and manages its own streams (SSF 1.0 §8.1)."},
    {"name": "subjects", "description": "The subjects of a stream; a new stream has all of them."},
    {"name": "delivery", "description": "Polling (RFC 8936). Pushes (RFC 8935) go the other way."},
    {"name": "revocations", "description": "Outcomes of revocations."},
]

_DESCRIPTIONS: Final[Mapping[int, str]] = {
    400: "The request is invalid.",
    401: "The token is missing or invalid.",
    403: "The token lacks the scope, the operator owns the stream, or too many subjects are removed.",
    404: "The receiver has no such stream.",
    408: "The body did not arrive in time.",
    409: "The receiver has the maximum number of streams.",
    413: "The body is too long.",
    414: "The address is too long.",
    429: "Too many requests; see `Retry-After`.",
    500: "Internal error.",
    503: "The store or a service behind it does not respond now; see `Retry-After`.",
}
_RETRY: Final = {"Retry-After": {"description": "Seconds", "schema": {"type": "string"}}}
_CHALLENGE: Final = {"WWW-Authenticate": {"description": "RFC 6750 §3", "schema": {"type": "string"}}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of an operation: *statuses*, and those that every operation may have."""
    headers = {401: _CHALLENGE, 403: _CHALLENGE, 429: _RETRY, 503: _RETRY}
    return {
        status: {"model": Refusal, "description": _DESCRIPTIONS[status]}
        | ({"headers": headers[status]} if status in headers and status != 403 else {})
        for status in sorted({*statuses, 408, 413, 414, 429, 500, 503})
    }


def form_body(**fields: str) -> dict[str, Any]:
    """The body of an OAuth request (RFC 6749 §4.4.2) with a description per field; a trailing *_*: optional."""
    properties = {name.rstrip("_"): {"type": "string", "description": text} for name, text in fields.items()}
    required = [name for name in fields if not name.endswith("_")]
    schema = {"type": "object", "properties": properties, "required": required}
    return {
        "requestBody": {
            "required": True,
            "content": {"application/x-www-form-urlencoded": {"schema": schema}},
        }
    }


def describe(app: FastAPI, settings: TransmitterSettings) -> None:
    """Complete the document of *app* once all operations are in it."""
    addresses = Addresses(settings.issuer)
    build = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = build()
            document["servers"] = [{"url": settings.issuer.removesuffix("/").removesuffix(addresses.stem)}]
            _without_422(document)
            _with_schemes(document, addresses, settings)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _without_422(document: dict[str, Any]) -> None:
    """FastAPI documents 422 for invalid requests; this API responds with 400, as SSF 1.0 §8 requires."""
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _with_schemes(document: dict[str, Any], addresses: Addresses, settings: TransmitterSettings) -> None:
    schemes = document["components"]["securitySchemes"]
    if settings.token_issuer is None:
        schemes["oauth2"]["flows"]["clientCredentials"]["tokenUrl"] = addresses.url(paths.TOKEN)
        schemes["client"] = {"type": "http", "scheme": "basic", "description": "RFC 6749 §2.3.1"}
        return
    text = f"A JWT of {settings.token_issuer} with the scope ssf.read or ssf.manage (RFC 9068)."
    schemes["oauth2"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": text}
    for operations in document["paths"].values():
        for operation in operations.values():
            if "security" in operation:  # scopes belong to OAuth 2.0 schemes only
                operation["security"] = [{"oauth2": []}]
