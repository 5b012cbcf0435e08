"""`session-risk transmitter clients`: receivers, and the tenants of their streams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline import cli
from pipeline.settings.loading import load_transmitter
from pipeline.transmitter.store import receivers, streams
from pipeline.transmitter.store.database import Store, open_configured_store
from pipeline.transmitter.store.receivers import Receiver
from tests.support.stores import NOW, stream

OUTSIDE = {
    "SESSION_RISK_TRANSMITTER_TOKEN_ISSUER": "https://as.example",
    "SESSION_RISK_TRANSMITTER_TOKEN_JWKS_URL": "https://as.example/keys",
}
STRANGERS = {"SESSION_RISK_TENANCY": "true"}
UNTOLD = (
    "session-risk: with SESSION_RISK_TENANCY a stream without a tenant gets no events: s-1, s-2. "
    "Give its receiver one with `session-risk transmitter clients tenant`, or write `tenant` where it is "
    "declared\n"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The store the commands use."""
    monkeypatch.setenv("SESSION_RISK_TRANSMITTER_DATABASE", f"sqlite:///{tmp_path / 'store.db'}")
    store = open_configured_store(load_transmitter())
    yield store
    store.close()


def _run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli.main, ["transmitter", "clients", *arguments], env=env)


def _listed(env: dict[str, str] | None = None) -> dict[str, Any]:
    return {load["receiver_id"]: load["tenant"] for load in json.loads(_run("list", "--json", env=env).stdout)}


def test_a_client_is_given_a_tenant_another_and_every_one_again(here: Store) -> None:
    _run("add", "me", "--aud", "a")

    done = [_run("tenant", "me", which) for which in ("acme", "globex", "--every")]

    assert [(result.exit_code, result.output) for result in done] == [
        (0, "me gets events of acme from now on\n"),
        (0, "me gets events of globex from now on\n"),
        (0, "me gets events of every tenant from now on\n"),
    ]
    assert _listed() == {"me": None}


def test_with_tenancy_none_is_none(here: Store) -> None:
    added = _run("add", "me", "--aud", "a", env=STRANGERS).stdout
    taken = _run("tenant", "me", "--every", env=STRANGERS).stdout

    assert added.splitlines()[-1].split() == ["tenant", "no", "tenant"]
    assert taken == "me gets events of no tenant from now on\n"


@pytest.mark.parametrize("which", [[], ["acme", "--every"]], ids=["neither", "both"])
def test_the_tenants_of_a_stream_are_given_in_one_way_only(here: Store, which: list[str]) -> None:
    _run("add", "me", "--aud", "a")

    done = _run("tenant", "me", *which)

    assert (done.exit_code, "give either TENANT or --every" in done.stderr) == (2, True)


def test_a_client_that_is_not_there_is_given_none(here: Store) -> None:
    done = _run("tenant", "idp", "acme")

    assert (done.exit_code, done.stderr) == (
        1,
        "session-risk: idp: there is no receiver of this name that is not revoked\n",
    )
    assert _listed() == {}


def test_a_tenant_that_no_event_has_is_refused_with_a_sentence(here: Store) -> None:
    added = _run("add", "me", "--aud", "a", "--tenant", "")

    assert (added.exit_code, added.stderr) == (2, "session-risk: '': a tenant is 1 to 64 characters\n")


def test_a_receiver_of_an_outside_server_is_given_a_tenant_before_it_comes(here: Store) -> None:
    done = _run("tenant", "auth0|sub:1", "acme", env=OUTSIDE)
    with here.begin() as conn:
        found = receivers.ensure(conn, "auth0|sub:1", "auth0|sub:1", ["ssf.read"], NOW)

    assert (done.exit_code, done.output) == (0, "auth0|sub:1 gets events of acme from now on\n")
    both = frozenset({"ssf.read", "ssf.manage"})
    known = Receiver("auth0|sub:1", "auth0|sub:1", both, found.created_at, outside=True, tenant="acme")
    assert found == known


def test_a_receiver_of_an_outside_server_is_given_a_tenant_after_it_came(here: Store) -> None:
    with here.begin() as conn:
        receivers.ensure(conn, "idp", "https://idp.example", ["ssf.read"], NOW)
        streams.add(conn, here.sealer, stream(receiver_id="idp"))

    done = _run("tenant", "idp", "acme", env=OUTSIDE)

    shown = _run("list").stdout
    with here.read() as conn:
        assert [stream_row.tenant for stream_row in streams.every(conn, here.sealer)] == ["acme"]
    assert (done.exit_code, shown.splitlines()[1].split()[:5]) == (
        0,
        ["idp", "https://idp.example", "ssf.read", "outside", "acme"],
    )


def test_the_list_names_the_streams_that_get_no_events(here: Store) -> None:
    _run("add", "theirs", "--aud", "a", "--tenant", "acme")
    _run("add", "mine", "--aud", "b")
    with here.begin() as conn:
        for number, (receiver, status) in enumerate(
            [("mine", "enabled"), ("gone", "paused"), ("theirs", "enabled"), ("mine", "disabled")], start=1
        ):
            overrides: dict[str, Any] = {"receiver_id": receiver, "status": status, "created_at": NOW + number}
            streams.add(conn, here.sealer, stream(f"s-{number}", **overrides))

    strict, plain = (_run("list", env=env) for env in (STRANGERS, {}))
    result = _run("list", "--json", env=STRANGERS)

    assert (strict.exit_code, strict.stderr, result.stderr, plain.stderr) == (0, UNTOLD, UNTOLD, "")
    assert _listed(STRANGERS) == {"theirs": "acme", "mine": None}
    assert ("no tenant" in strict.stdout, "every tenant" in plain.stdout) == (True, True)
