"""Every call that manages something is written down before it is answered: who, where from, what, status."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.transmitter import audit
from pipeline.transmitter.api.bearer import address_of
from pipeline.transmitter.api.paths import AUDITED, POLL, Addresses
from pipeline.transmitter.services import Services

_NOT_KEPT = 429
"""Of somebody who asks too often, the log would be filled by what was not even looked at."""


class Audited:
    """Notes calls in the store's audit log; polls only if they are refused, or the log held nothing else."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services
        self.at = Addresses(services.settings.issuer)

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
        if status == _NOT_KEPT or not (path in AUDITED or (poll and status >= 400)):
            return
        state = scope.get("state", {})
        caller = state.get("caller")
        call = audit.Noted(
            at=self.services.clock(),
            action=f"{scope['method']} {POLL if poll else path}",
            status=status,
            receiver_id=state.get("receiver_id") if caller is None else caller.receiver_id,
            address=address_of(scope),
            stream_id=path[len(POLL) + 1 :] if poll else state.get("stream_id"),
        )
        await run_in_threadpool(self._write, call)

    def _write(self, call: audit.Noted) -> None:
        with self.services.store.begin() as conn:
            audit.note(conn, call)
