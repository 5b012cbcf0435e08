"""Discovery for receivers that know only the issuer: configuration document (SSF 1.0 §7), JWK Set and health."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool

from pipeline.transmitter import protocol
from pipeline.transmitter.api import paths
from pipeline.transmitter.api.auth import WithServices
from pipeline.transmitter.api.openapi import refusals
from pipeline.transmitter.api.paths import Addresses
from pipeline.transmitter.services import Services

CACHEABLE: Final = {"Cache-Control": "public, max-age=60"}
"""A receiver that caches the keys uses outdated ones for no longer than this after a rotation."""
HEALTH_MS: Final = 1000
"""How long the result of a health check of the store is reused, ms."""


class Scheme(BaseModel):
    """An authorization scheme (SSF 1.0 §7.1.1)."""

    spec_urn: str = Field(examples=["urn:ietf:rfc:6749"])


class TransmitterConfiguration(BaseModel):
    """SSF 1.0 §7.1. Fields without a value are left out (§7.2.3)."""

    spec_version: str = Field("1_0", description="The version of SSF.")
    issuer: str = Field(examples=["https://risk.example.com"])
    jwks_uri: str = Field(examples=["https://risk.example.com/jwks.json"])
    delivery_methods_supported: list[str] = Field(examples=[[protocol.PUSH, protocol.POLL]])
    configuration_endpoint: str
    status_endpoint: str
    verification_endpoint: str
    add_subject_endpoint: str
    remove_subject_endpoint: str
    authorization_schemes: list[Scheme]
    default_subjects: Literal["ALL", "NONE"] = "ALL"


class JwkSet(BaseModel):
    """A JWK Set (RFC 7517 §5): public keys only."""

    keys: list[dict[str, Any]] = Field(
        examples=[[{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k-1", "n": "…", "e": "AQAB"}]]
    )


class Health(BaseModel):
    """This process and its store respond."""

    status: Literal["ok"] = "ok"


class StoreHealth:
    """Checks that the store responds, at most once in `HEALTH_MS` however many ask: the path has no rate limit.

    Concurrent requests wait for the same check, which occupies one thread however long the store takes.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._checked_at = 0
        self._check: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Return if the store responds; raises `StoreError` if it does not."""
        now_ms = self._services.clock()
        if self._check is None or (self._check.done() and not 0 <= now_ms - self._checked_at < HEALTH_MS):
            self._checked_at = now_ms
            self._check = asyncio.create_task(run_in_threadpool(self._query))
        await asyncio.shield(self._check)

    def _query(self) -> None:
        with self._services.store.read() as conn:
            conn.execute(text("SELECT 1"))


router = APIRouter(tags=["discovery"])


def configuration(services: WithServices, response: Response) -> TransmitterConfiguration:
    """Return the transmitter configuration metadata (SSF 1.0 §7)."""
    response.headers.update(CACHEABLE)
    addresses = Addresses(services.settings.issuer)
    return TransmitterConfiguration(
        issuer=services.settings.issuer,
        jwks_uri=addresses.url(paths.JWKS),
        delivery_methods_supported=[protocol.PUSH, protocol.POLL],
        configuration_endpoint=addresses.url(paths.STREAM),
        status_endpoint=addresses.url(paths.STATUS),
        verification_endpoint=addresses.url(paths.VERIFY),
        add_subject_endpoint=addresses.url(paths.ADD_SUBJECT),
        remove_subject_endpoint=addresses.url(paths.REMOVE_SUBJECT),
        authorization_schemes=[Scheme(spec_urn="urn:ietf:rfc:6749"), Scheme(spec_urn="urn:ietf:rfc:6750")],
    )


@router.get(paths.JWKS, operation_id="read_keys", responses=refusals())
def keys(services: WithServices, response: Response) -> JwkSet:
    """Return the public keys: the signing key, and retired ones while tokens they signed are waiting."""
    response.headers.update(CACHEABLE)
    with services.store.read() as conn:
        return JwkSet(**services.signer.jwks(conn))


@router.get(paths.HEALTH, operation_id="read_health", responses=refusals())
async def health(request: Request) -> Health:
    """Report that this process and its store respond."""
    store_health: StoreHealth = request.app.state.store_health
    await store_health.check()
    return Health()
