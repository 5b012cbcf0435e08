"""FastAPI application of the transmitter: its middleware, in the order a request passes it, and its routes."""

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
    """Assemble the application. Its only state is the request counts of recent callers.

    Raises:
        ValueError: the settings name an authorization server but not its JWK Set.
    """
    settings = services.settings
    addresses = Addresses(settings.issuer)
    is_authorization_server = settings.token_issuer is None
    make_check = auth.check_issued_token if is_authorization_server else external_tokens.external_token_check
    check_token = make_check(services)
    limits = RateLimits.of(settings.requests_per_minute, services.clock)
    uncounted_paths = (paths.HEALTH, paths.TOKEN, paths.REVOKE) if is_authorization_server else (paths.HEALTH,)
    app = FastAPI(
        title=TITLE,
        description=TEXT,
        version=version("session-risk"),
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{addresses.stem}{paths.DOCUMENT}",
        redirect_slashes=False,
        middleware=[
            Middleware(errors.StoreErrorMiddleware),
            Middleware(NoStoreMiddleware),
            Middleware(AuditMiddleware, services),
            Middleware(AuthenticationMiddleware, check_token, limits, addresses, uncounted_paths),
            Middleware(BodyLimitMiddleware, settings.max_body_bytes),
        ],
    )
    app.state.services = services
    app.state.clients = ClientAuthenticator(services, limits)
    app.state.store_health = StoreHealth(services)
    _add_error_handlers(app)
    _add_routes(app, addresses, built_in=is_authorization_server)
    describe(app, settings)
    return app


def _add_error_handlers(app: FastAPI) -> None:
    app.exception_handler(errors.Problem)(errors.on_problem)
    app.exception_handler(HTTPException)(errors.on_http)
    app.exception_handler(RequestValidationError)(errors.on_invalid)
    app.exception_handler(Exception)(errors.on_error)


def _add_routes(app: FastAPI, addresses: Addresses, *, built_in: bool) -> None:
    get_well_known = app.get(
        addresses.well_known, operation_id="read_configuration", tags=["discovery"], responses=refusals()
    )
    get_well_known(discovery.configuration)
    app.get(f"{addresses.well_known}/", include_in_schema=False)(discovery.configuration)
    routers = [
        discovery.router,
        streams.router,
        stream_controls.streams_router,
        stream_controls.subjects_router,
        polling.router,
        acks.router,
    ]
    for router in [*routers, oauth.router] if built_in else routers:
        app.include_router(router, prefix=addresses.stem)
