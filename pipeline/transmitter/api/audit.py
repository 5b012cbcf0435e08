"""Calls that manage something are written down before they are answered: who, where from, what, status."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.transmitter.api.auth import caller_key, client_address
from pipeline.transmitter.api.paths import AUDITED, POLL, Addresses
from pipeline.transmitter.api.rate_limits import AuditWriter
from pipeline.transmitter.services import Services
from pipeline.transmitter.store.audit import AuditEntry


class AuditMiddleware:
    """Notes calls in the store's audit log; polls only if they are refused, or the log held nothing else.

    Whatever a known receiver calls is noted. What was refused to a stranger, or to a receiver that asks too
    often, is noted within bounds: it costs nothing to ask for.
    """

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services
        self.at = Addresses(services.settings.issuer)
        self.tallies = AuditWriter(services.store)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._note(scope, message["status"])
            await send(message)

        await self.app(scope, receive, noted)

    async def _note(self, scope: Scope, status: int) -> None:
        path = self.at.below(scope["path"]) or ""
        poll = path.startswith(f"{POLL}/")
        if not (path in AUDITED or (poll and status >= 400)):
            return
        state = scope.get("state", {})
        caller = state.get("caller")
        call = AuditEntry(
            at=self.services.clock(),
            action=f"{scope['method']} {POLL if poll else path}",
            status=status,
            receiver_id=state.get("receiver_id") if caller is None else caller.receiver_id,
            address=client_address(scope),
            stream_id=path[len(POLL) + 1 :] if poll else state.get("stream_id"),
        )
        if caller is not None and status != 429:
            await run_in_threadpool(self.tallies.whole, call)
        elif caller is not None:
            name = f"receiver {caller.receiver_id}"
            await run_in_threadpool(self.tallies.bounded, call, name, caller.receiver_id)
        else:
            await run_in_threadpool(self.tallies.bounded, call, f"address {caller_key(scope)}")
