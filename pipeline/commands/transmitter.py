"""`session-risk transmitter`: the Shared Signals transmitter, and what its operator looks after."""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import click

from pipeline.console import as_json, grid, moment, print_json, screen
from pipeline.settings.loading import load, load_transmitter
from pipeline.transmitter.operator_commands import NotFoundError, clients
from pipeline.transmitter.operator_commands import now as _now
from pipeline.transmitter.operator_commands import opened as _store
from pipeline.transmitter.protocol import Subject
from pipeline.transmitter.store import audit, queue, signing_keys
from pipeline.transmitter.store.queue import DeadLetter
from schemas.members import DEFAULT_TENANT


@click.group(
    "transmitter",
    short_help="Tell identity providers: Shared Signals, pushed or polled.",
    invoke_without_command=True,
)
@click.pass_context
def command(ctx: click.Context) -> int | None:
    """Tell identity providers what is decided, as Security Event Tokens (SSF 1.0, CAEP 1.0).

    Without a command it transmits, as `transmitter run` does. Keys, clients, dead letters and the audit log
    are in the store that SESSION_RISK_TRANSMITTER_DATABASE names; they may be looked at and changed while
    transmitters run.
    """
    return _transmit() if ctx.invoked_subcommand is None else None


command.add_command(clients)


@command.command("run")
def run() -> int:
    """Read Kafka, serve HTTP and deliver, until told to stop.

    Of several on one store one works, the others serve HTTP and take over when it is gone. On SIGTERM or
    Ctrl-C it ends what it has begun and exits with 0.
    """
    return _transmit()


def _transmit() -> int:
    starting = import_module("pipeline.transmitter.startup")  # a server: what only looks needs none of it
    code: int = starting.start(load(), load_transmitter())
    return code


# --- Keys ---


@command.group("keys", short_help="Look after the keys that sign.")
def keys() -> None:
    """Look after the keys that sign tokens."""


@keys.command("list")
@as_json
def list_keys(*, as_json: bool) -> None:
    """List the keys: the one that signs, those still published for what they signed, and retired ones."""
    with _store() as store, store.read() as conn:
        needed = queue.needed_key_ids(conn)
        records = [
            {**asdict(key), "published": key.retired_at is None or key.kid in needed} for key in signing_keys.keys(conn)
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
    screen().print(grid("key", "alg", "made", "state", rows=rows))


@keys.command("rotate")
def rotate() -> None:
    """Make a new key and sign with it from now on.

    The one before is published until nothing that it signed waits. Running transmitters notice by themselves.
    """
    settings = load_transmitter()
    with _store() as store, store.begin() as conn:
        kid = signing_keys.Signer(store.sealer, settings.alg, settings.rsa_bits).rotate(conn, _now())
    click.echo(f"{kid} signs from now on")


@keys.command("import")
@click.argument("pem", type=click.Path(dir_okay=False, path_type=Path))
def import_key(*, pem: Path) -> None:
    """Sign with the private key in the file PEM from now on: RSA of 2048 bits or more, or EC on P-256.

    The store keeps it sealed; the file is not needed any more.
    """
    content = pem.read_bytes()
    with _store(new=True) as store, store.begin() as conn:
        kid = signing_keys.Signer(store.sealer).take(conn, content, _now(), str(pem))
    click.echo(f"{kid} signs from now on")


# --- Dead letters ---


@command.group("dead-letters", short_help="Look after tokens that were given up.")
def dead_letters() -> None:
    """Look after tokens that could not be delivered."""


_stream = click.option("--stream", "stream_id", help="Only those of this stream.")
_most = click.option("--most", default=100, show_default=True, type=click.IntRange(1), help="Rows shown.")


@dead_letters.command("list")
@_stream
@_most
@as_json
def list_dead(*, stream_id: str | None, most: int, as_json: bool) -> None:
    """List tokens that were given up, the newest first, and why."""
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
    """Send dead letters again: those of NUMBERS, or all of a stream.

    They keep their `jti` and their place before what came later. Exit code 1 if none could be sent again.
    """
    if bool(numbers) == (stream_id is not None):
        raise click.UsageError("say which: numbers as `dead-letters list` shows them, or --stream")
    with _store() as store, store.begin() as conn:
        count = queue.requeue(conn, numbers if stream_id is None else stream_id, _now())
    if not count:
        raise NotFoundError("none of these is a dead letter whose token and stream are still there")
    click.echo(f"{count} wait again")


# --- The audit log ---


@command.command("audit")
@click.option("--client", "receiver_id", help="Only calls of this receiver.")
@_most
@as_json
def show_audit(*, receiver_id: str | None, most: int, as_json: bool) -> None:
    """Show the last calls of the management interface, the newest first."""
    with _store() as store, store.read() as conn:
        found = audit.recent(conn, most, receiver_id)
    if as_json:
        print_json([asdict(noted) for noted in found])
        return
    rows = [
        (moment(noted.at), noted.receiver_id, noted.address, noted.action, noted.stream_id, noted.status)
        for noted in found
    ]
    screen().print(grid("when", "client", "address", "call", "stream", ">status", rows=rows))


# --- Rehearsal ---


@command.command("rehearse", short_help="Send a stream one token of every event it takes.")
@click.argument("stream_id")
@click.option("--principal", required=True, help="Whom they name; a receiver acts on them, so one for trials.")
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="The principal's tenant.")
@click.option("--session", help="A session, where subjects are complex.")
@click.option("--device", help="A device, where subjects are complex.")
def rehearse(*, stream_id: str, principal: str, tenant: str, session: str | None, device: str | None) -> None:
    """Send the stream STREAM_ID one token of every event it takes, whose reason says that nothing happened.

    A transmitter that runs on this store delivers them as any other. Exit code 1 if the stream takes none.
    """
    rehearsal = import_module("pipeline.transmitter.sample_events")
    with _store() as store:
        made = rehearsal.statements(store, load_transmitter(), _now(), tenancy=load().tenancy)
        details = rehearsal.rehearse(made, stream_id, Subject(tenant, session, principal, device), _now())
    click.echo(f"{stream_id} is told of {', '.join(details)}")


def _why(dead_letter: DeadLetter) -> str:
    return dead_letter.error_text if dead_letter.retriable else f"{dead_letter.error_text} (cannot be sent again)"
