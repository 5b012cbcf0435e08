"""`session-risk transmitter clients`: the receivers, what they may do, and whose sessions they hear of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from time import time
from typing import Final

import click

from pipeline.console import as_json, grid, moment, print_json, screen
from pipeline.settings.loading import load, load_transmitter
from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.protocol import PUSH
from pipeline.transmitter.store import receivers, streams
from pipeline.transmitter.store.database import Store, open_configured_store, open_existing_store
from pipeline.transmitter.store.signing_keys import Signer
from pipeline.transmitter.tokens.stream_events import Announcer
from pipeline.transmitter.tokens.stream_filter import no_tenant_warning


class NotFoundError(LookupError):
    """What was named is not there."""

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def opened(*, new: bool = False) -> Iterator[Store]:
    """The store, while the block lasts. Raises `SettingsError`, `StoreError` or `SealError`.

    One that is not there is made only if it may be *new*: else nothing was to be seen in it.
    """
    store = (open_configured_store if new else open_existing_store)(load_transmitter())
    try:
        yield store
    finally:
        store.close()


def now() -> int:
    """The wall clock, ms since the epoch."""
    return int(time() * 1000)


def when(ms: int | None) -> str | None:
    """A moment, or none, as people read it."""
    return None if ms is None else moment(ms)


def revoke_receiver(store: Store, settings: TransmitterSettings, receiver_id: str, now_ms: int) -> bool:
    """Take everything back from a receiver; false if there is none, or it is revoked already.

    The word that its streams are disabled (SSF 1.0 §8.1.5) is pushed by a transmitter that runs on this
    store. Who is revoked can poll no more, and is not told.
    """
    with store.begin() as conn:
        before = streams.of_receiver(conn, store.sealer, receiver_id)
        if not receivers.revoke(conn, receiver_id, now_ms):
            return False
        after = streams.of_receiver(conn, store.sealer, receiver_id)
        if pushed := [stream for stream in after if stream.method == PUSH]:
            signer = Signer(store.sealer, settings.alg, settings.rsa_bits)
            signer.start(conn, now_ms)
            Announcer(settings.issuer, signer).changed(conn, before, pushed, now_ms)
    return True


SCOPES: Final = (receivers.READ, receivers.MANAGE)


@click.group("clients", short_help="Look after the receivers and their tenants.")
def clients() -> None:
    """Look after the receivers: those that get their access tokens here, and the tenants of all."""


@clients.command("add")
@click.argument("name")
@click.option("--aud", required=True, help="Audience of every token it is sent, as the receiver expects it.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    default=SCOPES,
    help="What it may do; may be given twice. By default both.",
)
@click.option("--tenant", help="Whose sessions it is told of. Without it, all; with tenancy on, none.")
@as_json
def add(*, name: str, aud: str, scopes: tuple[str, ...], tenant: str | None, as_json: bool) -> None:
    """Add the receiver NAME and tell its secret, this once: the store keeps only a hash."""
    tenancy = load().tenancy  # what cannot be read is told before there is a secret
    with opened(new=True) as store, store.begin() as conn:
        secret = receivers.add(conn, name, aud, scopes, now(), tenant)
    by_key = {"client_id": name, "client_secret": secret, "aud": aud}
    if as_json:
        print_json({**by_key, "tenant": tenant, "scopes": sorted(scopes)})
        return
    screen().print(grid("", "", rows=[*by_key.items(), ("tenant", _whose(tenant, tenancy=tenancy))]))
    click.echo("This is the only time the secret is shown.", err=True)


@clients.command("list")
@as_json
def list_clients(*, as_json: bool) -> None:
    """List the receivers, those too that an authorization server outside knows.

    With SESSION_RISK_TENANCY it also names the streams that have no tenant and are told of nothing.
    """
    tenancy = load().tenancy
    with opened() as store, store.read() as conn:
        found, untold = receivers.every(conn), streams.without_tenant(conn) if tenancy else []
    if as_json:
        print_json([{**asdict(receiver), "scopes": sorted(receiver.scopes)} for receiver in found])
    else:
        rows = [
            (
                receiver.receiver_id,
                receiver.aud,
                " ".join(sorted(receiver.scopes)),
                "outside" if receiver.outside else "here",
                _whose(receiver.tenant, tenancy=tenancy),
                moment(receiver.created_at),
                when(receiver.revoked_at),
            )
            for receiver in found
        ]
        screen().print(grid("client", "aud", "scopes", "tokens from", "tenant", "added", "revoked", rows=rows))
    if untold:
        click.echo(f"session-risk: {no_tenant_warning(untold)}", err=True)


@clients.command("tenant")
@click.argument("name")
@click.argument("tenant", required=False)
@click.option("--every", is_flag=True, help="Let it hear of every tenant; with tenancy on, of none.")
def assign(*, name: str, tenant: str | None, every: bool) -> None:
    """Let the receiver NAME hear of TENANT from now on, and of nothing else.

    What waits in its streams was said before, and is still sent. Where an authorization server outside knows
    the receivers, NAME is the client's id there, and need not have come yet. Exit code 1 if there is none of
    this name that is not revoked.
    """
    if (tenant is None) != every:
        raise click.UsageError("say which: TENANT, or --every")
    tenancy, outside = load().tenancy, load_transmitter().token_issuer is not None
    with opened(new=outside) as store, store.begin() as conn:
        if outside:
            receivers.ensure(conn, name, name, SCOPES, now())
        if not receivers.assign(conn, name, tenant):
            raise NotFoundError(f"{name}: there is no receiver of this name that is not revoked")
    click.echo(f"{name} hears of {_whose(tenant, tenancy=tenancy)} from now on")


@clients.command("revoke")
@click.argument("name")
def revoke(*, name: str) -> None:
    """Revoke the receiver NAME: its tokens end at once, and its streams are disabled.

    Where it is pushed to, a transmitter that runs on this store tells it so. Exit code 1 if there is none of
    this name that is not revoked already.
    """
    with opened() as store:
        if not revoke_receiver(store, load_transmitter(), name, now()):
            raise NotFoundError(f"{name}: there is no receiver of this name that is not revoked")
    click.echo(f"{name} is revoked")


def _whose(tenant: str | None, *, tenancy: bool) -> str:
    return tenant or ("no tenant" if tenancy else "every tenant")
