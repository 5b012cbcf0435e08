"""`session-risk transmitter clients`: commands that manage receivers, their scopes and their tenants."""

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
    """The named object does not exist; exit code 1."""

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def opened_store(*, new: bool = False) -> Iterator[Store]:
    """Open the configured store for the block. Raises `SettingsError`, `StoreError` or `SealError`.

    A missing store is created only if *new* is true; otherwise the command would show an empty one.
    """
    store = (open_configured_store if new else open_existing_store)(load_transmitter())
    try:
        yield store
    finally:
        store.close()


def now() -> int:
    """The wall clock, ms since the epoch."""
    return int(time() * 1000)


def format_time(ms: int | None) -> str | None:
    """Format a time in ms for people; `None` stays `None`."""
    return None if ms is None else moment(ms)


def revoke_receiver(store: Store, settings: TransmitterSettings, receiver_id: str, now_ms: int) -> bool:
    """Revoke a receiver and disable its streams; false if there is none, or it is revoked already.

    The stream-updated events (SSF 1.0 §8.1.5) are pushed by a transmitter that runs on this store. A revoked receiver
    that polls gets none, because it can no longer poll.
    """
    with store.begin() as conn:
        before = streams.of_receiver(conn, store.sealer, receiver_id)
        if not receivers.revoke(conn, receiver_id, now_ms):
            return False
        after = streams.of_receiver(conn, store.sealer, receiver_id)
        if push_streams := [stream for stream in after if stream.method == PUSH]:
            signer = Signer(store.sealer, settings.alg, settings.rsa_bits)
            signer.start(conn, now_ms)
            Announcer(settings.issuer, signer).announce_changes(conn, before, push_streams, now_ms)
    return True


SCOPES: Final = (receivers.READ, receivers.MANAGE)


@click.group("clients", short_help="Manage the receivers and their tenants.")
def clients() -> None:
    """Manage the receivers: those that get their access tokens here, and the tenants of all."""


@clients.command("add")
@click.argument("name")
@click.option("--aud", required=True, help="Audience (`aud`) of every token sent to it, as the receiver expects it.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    default=SCOPES,
    help="Scope of its access tokens; may be given twice. By default both.",
)
@click.option("--tenant", help="Tenant whose events it gets. Without it, all; with tenancy on, none.")
@as_json
def add(*, name: str, aud: str, scopes: tuple[str, ...], tenant: str | None, as_json: bool) -> None:
    """Add the receiver NAME and show its secret, this once: the store keeps only a hash."""
    tenancy = load().tenancy  # settings that cannot be read are reported before a secret is made
    with opened_store(new=True) as store, store.begin() as conn:
        secret = receivers.add(conn, name, aud, scopes, now(), tenant)
    credentials = {"client_id": name, "client_secret": secret, "aud": aud}
    if as_json:
        print_json({**credentials, "tenant": tenant, "scopes": sorted(scopes)})
        return
    screen().print(grid("", "", rows=[*credentials.items(), ("tenant", _tenant_text(tenant, tenancy=tenancy))]))
    click.echo("This is the only time the secret is shown.", err=True)


@clients.command("list")
@as_json
def list_clients(*, as_json: bool) -> None:
    """List the receivers, including those that an external authorization server knows.

    With SESSION_RISK_TENANCY it also names the streams that have no tenant and therefore get no events.
    """
    tenancy = load().tenancy
    with opened_store() as store, store.read() as conn:
        found, without_tenant = receivers.every(conn), streams.without_tenant(conn) if tenancy else []
    if as_json:
        print_json([{**asdict(receiver), "scopes": sorted(receiver.scopes)} for receiver in found])
    else:
        rows = [
            (
                receiver.receiver_id,
                receiver.aud,
                " ".join(sorted(receiver.scopes)),
                "outside" if receiver.outside else "here",
                _tenant_text(receiver.tenant, tenancy=tenancy),
                moment(receiver.created_at),
                format_time(receiver.revoked_at),
            )
            for receiver in found
        ]
        screen().print(grid("client", "aud", "scopes", "tokens from", "tenant", "added", "revoked", rows=rows))
    if without_tenant:
        click.echo(f"session-risk: {no_tenant_warning(without_tenant)}", err=True)


@clients.command("tenant")
@click.argument("name")
@click.argument("tenant", required=False)
@click.option("--every", is_flag=True, help="Send it events of every tenant; with tenancy on, of none.")
def assign(*, name: str, tenant: str | None, every: bool) -> None:
    """Restrict the receiver NAME to events of TENANT from now on.

    Tokens that already wait in its streams are still sent. With an external authorization server, NAME is the client
    id there, and the client need not have connected yet. Exit code 1 if there is no such receiver, or it is revoked.
    """
    if (tenant is None) != every:
        raise click.UsageError("give either TENANT or --every")
    tenancy, outside = load().tenancy, load_transmitter().token_issuer is not None
    with opened_store(new=outside) as store, store.begin() as conn:
        if outside:
            receivers.ensure(conn, name, name, SCOPES, now())
        if not receivers.assign(conn, name, tenant):
            raise NotFoundError(f"{name}: there is no receiver of this name that is not revoked")
    click.echo(f"{name} gets events of {_tenant_text(tenant, tenancy=tenancy)} from now on")


@clients.command("revoke")
@click.argument("name")
def revoke(*, name: str) -> None:
    """Revoke the receiver NAME: its tokens become invalid at once, and its streams are disabled.

    A receiver that is pushed to gets stream-updated from a transmitter that runs on this store. Exit code 1 if there
    is no such receiver, or it is revoked already.
    """
    with opened_store() as store:
        if not revoke_receiver(store, load_transmitter(), name, now()):
            raise NotFoundError(f"{name}: there is no receiver of this name that is not revoked")
    click.echo(f"{name} is revoked")


def _tenant_text(tenant: str | None, *, tenancy: bool) -> str:
    return tenant or ("no tenant" if tenancy else "every tenant")
