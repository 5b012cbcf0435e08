"""`session-risk transmitter`: the Shared Signals transmitter, and its administration."""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import click

from pipeline.console import as_json, grid, moment, print_json, screen
from pipeline.settings.loading import load, load_transmitter
from pipeline.transmitter.operator_commands import NotFoundError, clients
from pipeline.transmitter.operator_commands import now as _now
from pipeline.transmitter.operator_commands import opened_store as _store
from pipeline.transmitter.protocol import Subject
from pipeline.transmitter.store import audit, queue, signing_keys
from pipeline.transmitter.store.queue import DeadLetter
from schemas.fields import DEFAULT_TENANT


@click.group(
    "transmitter",
    short_help="Send decisions to identity providers by Shared Signals.",
    invoke_without_command=True,
)
@click.pass_context
def command(ctx: click.Context) -> int | None:
    """Send decisions to identity providers as Security Event Tokens (SSF 1.0, CAEP 1.0).

    Without a sub-command it transmits, like `transmitter run`. Keys, clients, dead letters and the audit log are in the
    store that SESSION_RISK_TRANSMITTER_DATABASE names; they can be viewed and changed while transmitters run.
    """
    return _transmit() if ctx.invoked_subcommand is None else None


command.add_command(clients)


@command.command("run")
def run() -> int:
    """Read Kafka, serve HTTP and deliver tokens, until stopped.

    If several share a store, one of them reads and delivers; the others serve HTTP and take over if it fails. On
    SIGTERM or Ctrl-C it finishes what it has started and exits with 0.
    """
    return _transmit()


def _transmit() -> int:
    startup = import_module("pipeline.transmitter.startup")  # the server; other sub-commands do not need it
    code: int = startup.start(load(), load_transmitter())
    return code


# --- Keys ---


@command.group("keys", short_help="List, rotate or import signing keys.")
def keys() -> None:
    """Manage the keys that sign tokens."""


@keys.command("list")
@as_json
def list_keys(*, as_json: bool) -> None:
    """List the keys: the signing key, keys still published for tokens they signed, and retired keys."""
    with _store() as store, store.read() as conn:
        needed = queue.needed_key_ids(conn)
        records = [
            {**asdict(key), "published": key.retired_at is None or key.kid in needed}
            for key in signing_keys.list_keys(conn)
        ]
    if as_json:
        print_json(records)
        return
    rows = [
        (
            key["kid"],
            key["alg"],
            moment(key["created_at"]),
            "signs" if key["retired_at"] is None else "published" if key["published"] else "retired",
        )
        for key in records
    ]
    screen().print(grid("key", "alg", "created", "state", rows=rows))


@keys.command("rotate")
def rotate() -> None:
    """Create a new key and sign with it from now on.

    The previous key stays published until every token that it signed is delivered. Running transmitters notice by
    themselves.
    """
    settings = load_transmitter()
    with _store() as store, store.begin() as conn:
        kid = signing_keys.Signer(store.sealer, settings.alg, settings.rsa_bits).rotate(conn, _now())
    click.echo(f"{kid} signs from now on")


@keys.command("import")
@click.argument("pem", type=click.Path(dir_okay=False, path_type=Path))
def import_key(*, pem: Path) -> None:
    """Sign with the private key in the file PEM from now on: RSA of 2048 bits or more, or EC on P-256.

    The store contains it encrypted; the file is no longer needed.
    """
    content = pem.read_bytes()
    with _store(new=True) as store, store.begin() as conn:
        kid = signing_keys.Signer(store.sealer).import_pem(conn, content, _now(), str(pem))
    click.echo(f"{kid} signs from now on")


# --- Dead letters ---


@command.group("dead-letters", short_help="List or retry tokens that could not be delivered.")
def dead_letters() -> None:
    """Manage tokens that could not be delivered."""


_stream = click.option("--stream", "stream_id", help="Only this stream.")
_most = click.option("--most", default=100, show_default=True, type=click.IntRange(1), help="Maximum number of rows.")


@dead_letters.command("list")
@_stream
@_most
@as_json
def list_dead(*, stream_id: str | None, most: int, as_json: bool) -> None:
    """List tokens that could not be delivered, the newest first, with the error."""
    with _store() as store, store.read() as conn:
        found = queue.list_dead_letters(conn, stream_id, most)
    if as_json:
        print_json([asdict(dead_letter) for dead_letter in found])
        return
    rows = [
        (
            dead_letter.seq,
            dead_letter.stream_id,
            dead_letter.event,
            moment(dead_letter.ended_at),
            dead_letter.attempts,
            dead_letter.error,
            _why(dead_letter),
        )
        for dead_letter in found
    ]
    screen().print(grid(">number", "stream", "event", "given up", ">tries", "error", "why", rows=rows))


@dead_letters.command("retry")
@click.argument("numbers", nargs=-1, type=int)
@_stream
def retry(*, numbers: tuple[int, ...], stream_id: str | None) -> None:
    """Send dead letters again: those with these NUMBERS, or all of a stream.

    They have the same `jti` and are sent before later tokens. Exit code 1 if none can be sent again.
    """
    if bool(numbers) == (stream_id is not None):
        raise click.UsageError("give either numbers, as `dead-letters list` shows them, or --stream")
    with _store() as store, store.begin() as conn:
        count = queue.requeue(conn, numbers if stream_id is None else stream_id, _now())
    if not count:
        raise NotFoundError("none of these is a dead letter whose token and stream still exist")
    click.echo(f"{count} queued again")


# --- The audit log ---


@command.command("audit")
@click.option("--client", "receiver_id", help="Only calls of this receiver.")
@_most
@as_json
def show_audit(*, receiver_id: str | None, most: int, as_json: bool) -> None:
    """Show the latest calls of the management API, the newest first."""
    with _store() as store, store.read() as conn:
        found = audit.recent(conn, most, receiver_id)
    if as_json:
        print_json([asdict(entry) for entry in found])
        return
    rows = [
        (moment(entry.at), entry.receiver_id, entry.address, entry.action, entry.stream_id, entry.status)
        for entry in found
    ]
    screen().print(grid("when", "client", "address", "call", "stream", ">status", rows=rows))


# --- Sample events ---


@command.command("rehearse", short_help="Send a stream one sample token of every event type.")
@click.argument("stream_id")
@click.option(
    "--principal", required=True, help="Principal in the tokens; receivers act on them, so use a test account."
)
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="The principal's tenant.")
@click.option("--session", help="Session id, if the stream has complex subjects.")
@click.option("--device", help="Device id, if the stream has complex subjects.")
def rehearse(*, stream_id: str, principal: str, tenant: str, session: str | None, device: str | None) -> None:
    """Send the stream STREAM_ID one token of every event type it accepts; the reason says that it is a test.

    A transmitter that runs on this store delivers them like any other token. Exit code 1 if it accepts none.
    """
    rehearsal = import_module("pipeline.transmitter.sample_events")
    with _store() as store:
        made = rehearsal.open_builder(store, load_transmitter(), _now(), tenancy=load().tenancy)
        events = rehearsal.queue_samples(made, stream_id, Subject(tenant, session, principal, device), _now())
    click.echo(f"{stream_id} gets {', '.join(events)}")


def _why(dead_letter: DeadLetter) -> str:
    return dead_letter.error_text if dead_letter.retriable else f"{dead_letter.error_text} (cannot be sent again)"
