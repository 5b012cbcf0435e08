"""The application: everything that answers, in the order in which a request passes through it."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from pipeline.transmitter.api import (
    acks,
    auth,
    discovery,
    errors,
    external_tokens,
    oauth,
    paths,
    polling,
    stream_controls,
    streams,
)
from pipeline.transmitter.api.audit import AuditMiddleware
from pipeline.transmitter.api.auth import AuthenticationMiddleware
from pipeline.transmitter.api.discovery import StoreHealth
from pipeline.transmitter.api.oauth import ClientAuthenticator
from pipeline.transmitter.api.openapi import TAGS, TEXT, TITLE, describe, refusals
from pipeline.transmitter.api.paths import Addresses
from pipeline.transmitter.api.rate_limits import BodyLimitMiddleware, NoStoreMiddleware, RateLimits
from pipeline.transmitter.services import Services


def create_app(services: Services) -> FastAPI:
    """Put the application together. It keeps nothing but who asked how often of late.

    Raises:
        ValueError: the settings name an authorization server, but not where its keys are.
    """
    settings = services.settings
    at = Addresses(settings.issuer)
    own = settings.token_issuer is None
    check = auth.built_in(services) if own else external_tokens.outside(services)
    shares = RateLimits.of(settings.requests_per_minute, services.clock)
    apart = (paths.HEALTH, paths.TOKEN, paths.REVOKE) if own else (paths.HEALTH,)
    app = FastAPI(
        title=TITLE,
        description=TEXT,
        version=version("session-risk"),
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{at.stem}{paths.DOCUMENT}",
        redirect_slashes=False,
        middleware=[
            Middleware(errors.StoreErrorMiddleware),
            Middleware(NoStoreMiddleware),
            Middleware(AuditMiddleware, services),
            Middleware(AuthenticationMiddleware, check, shares, at, apart),
            Middleware(BodyLimitMiddleware, settings.max_body_bytes),
        ],
    )
    app.state.services = services
    app.state.clients = ClientAuthenticator(services, shares)
    app.state.pulse = StoreHealth(services)
    _answer_problems(app)
    _route(app, at, built_in=own)
    describe(app, settings)
    return app


def _answer_problems(app: FastAPI) -> None:
    app.exception_handler(errors.Problem)(errors.on_problem)
    app.exception_handler(HTTPException)(errors.on_http)
    app.exception_handler(RequestValidationError)(errors.on_invalid)
    app.exception_handler(Exception)(errors.on_error)


def _route(app: FastAPI, at: Addresses, *, built_in: bool) -> None:
    tell = app.get(at.well_known, operation_id="read_configuration", tags=["discovery"], responses=refusals())
    tell(discovery.configuration)
    app.get(f"{at.well_known}/", include_in_schema=False)(discovery.configuration)
    routers = [
        discovery.router,
        streams.router,
        stream_controls.streams_router,
        stream_controls.subjects_router,
        polling.router,
        acks.router,
    ]
    for router in [*routers, oauth.router] if built_in else routers:
        app.include_router(router, prefix=at.stem)
