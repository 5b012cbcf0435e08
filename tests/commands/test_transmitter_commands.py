"""`session-risk transmitter`: keys, clients, dead letters and the audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pipeline import cli
from pipeline.settings.loading import load_transmitter
from pipeline.transmitter.store import audit, queue, receivers, streams
from pipeline.transmitter.store.audit import AuditEntry
from pipeline.transmitter.store.database import Store, open_configured_store
from pipeline.transmitter.tokens import stream_events
from tests.support.stores import NOW, stream, token


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The store the commands use."""
    monkeypatch.setenv("SESSION_RISK_TRANSMITTER_DATABASE", f"sqlite:///{tmp_path / 'store.db'}")
    monkeypatch.setenv("SESSION_RISK_TRANSMITTER_ALG", "ES256")
    store = open_configured_store(load_transmitter())
    yield store
    store.close()


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, ["transmitter", *map(str, arguments)])


def _json_of(*arguments: str | Path) -> Any:
    done = _run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "words",
    [
        *("keys list", "keys rotate", "clients list", "clients revoke idp", "audit"),
        *("dead-letters list", "dead-letters retry 1", "rehearse s-1 --principal ana"),
    ],
)
def test_a_command_that_reads_a_missing_store_reports_it_and_creates_none(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "elsewhere" / "store.db"
    monkeypatch.setenv("SESSION_RISK_TRANSMITTER_DATABASE", f"sqlite:///{file}")

    done = _run(*words.split())

    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == (
        f"session-risk: {file}: there is no transmitter store here; set SESSION_RISK_TRANSMITTER_DATABASE\n"
    )
    assert not file.parent.exists()


# --- Keys ---


def test_keys_are_rotated_and_listed_with_which_are_published(here: Store) -> None:
    kids = [_run("keys", "rotate").stdout.split()[0] for _ in range(3)]
    with here.begin() as conn:
        queue.put(conn, [token("a1", kid=kids[1])], NOW)

    output, shown = _json_of("keys", "list"), _run("keys", "list").stdout

    assert {key["kid"] for key in output} == set(kids)
    assert (output[0]["kid"], output[0]["alg"], output[0]["retired_at"]) == (kids[2], "ES256", None)
    assert {key["kid"]: key["published"] for key in output} == dict(zip(kids, [False, True, True], strict=True))
    states = {line.split()[0]: line.split()[-1] for line in shown.splitlines()[1:]}
    assert states == dict(zip(kids, ["retired", "published", "signs"], strict=True))


def _pem(tmp_path: Path, bits: int) -> Path:
    key = rsa.generate_private_key(65537, bits)
    path = tmp_path / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def test_a_key_is_brought_from_a_file(here: Store, tmp_path: Path) -> None:
    done = _run("keys", "import", _pem(tmp_path, 2048))

    (key,) = _json_of("keys", "list")
    assert (done.exit_code, done.stdout) == (0, f"{key['kid']} signs from now on\n")
    assert key["alg"] == "RS256"


def test_a_key_that_is_too_weak_or_not_there_is_refused(here: Store, tmp_path: Path) -> None:
    weak, none = _run("keys", "import", _pem(tmp_path, 1024)), _run("keys", "import", tmp_path / "none")

    assert (weak.exit_code, weak.stderr) == (
        2,
        f"session-risk: {tmp_path / 'key.pem'}: an RSA key of 1024 bits is too weak; use 2048 or more\n",
    )
    assert none.exit_code == 2
    assert none.stderr == f"session-risk: {tmp_path / 'none'}: No such file or directory\n"
    assert _json_of("keys", "list") == []


@pytest.mark.parametrize("left", ["another", "none"])
def test_with_another_key_file_than_the_stores_no_key_is_made_that_nobody_else_could_read(
    here: Store, tmp_path: Path, left: str
) -> None:
    kid, keys = _run("keys", "rotate").stdout.split()[0], tmp_path / "store.db.key"
    if left == "another":
        keys.write_bytes(Fernet.generate_key())
    else:
        keys.unlink()

    done = [_run("keys", "rotate"), _run("keys", "import", _pem(tmp_path, 2048))]

    assert [result.exit_code for result in done] == [2, 2]
    assert all(f"{keys}: no key in it decrypts the secrets of this store" in result.stderr for result in done)
    assert [key["kid"] for key in _json_of("keys", "list")] == [kid]


# --- Clients ---


def test_a_client_is_added_with_a_secret_that_is_shown_once(here: Store) -> None:
    output = _json_of("clients", "add", "okta", "--aud", "https://a.example", "--scope", "ssf.read")

    listed = _run("clients", "list").stdout
    with here.read() as conn:
        found = receivers.check(conn, "okta", output["client_secret"])
    assert found is not None
    assert (output["client_id"], output["aud"], output["scopes"]) == (
        "okta",
        "https://a.example",
        ["ssf.read"],
    )
    assert (found.aud, found.scopes) == ("https://a.example", frozenset({"ssf.read"}))
    assert "okta" in listed
    assert output["client_secret"] not in listed


def test_a_client_added_for_a_person_to_read_has_both_scopes(here: Store) -> None:
    shown = _run("clients", "add", "me", "--aud", "a")

    secret = shown.stdout.split("client_secret")[1].split()[0]
    with here.read() as conn:
        found = receivers.check(conn, "me", secret)
    assert found is not None
    assert found.scopes == {"ssf.read", "ssf.manage"}
    assert shown.stderr == "This is the only time the secret is shown.\n"


def test_a_client_is_of_the_tenant_it_was_added_for(here: Store) -> None:
    added = _run("clients", "add", "theirs", "--aud", "a", "--tenant", "acme", "--json")
    shown = _run("clients", "list").stdout

    with here.read() as conn:
        found = receivers.get(conn, "theirs")
    assert found is not None
    assert (found.tenant, json.loads(added.stdout)["tenant"]) == ("acme", "acme")
    assert "acme" in shown


def test_a_name_is_refused_the_second_time(here: Store) -> None:
    _run("clients", "add", "me", "--aud", "a")

    again = _run("clients", "add", "me", "--aud", "a")

    assert (again.exit_code, again.stdout) == (2, "")
    assert again.stderr == "session-risk: me: there is or was a receiver of this name; choose another\n"


def test_a_client_is_revoked_once(here: Store) -> None:
    _run("clients", "add", "me", "--aud", "a")

    first, second = (_run("clients", "revoke", "me") for _ in range(2))

    assert (first.exit_code, first.stdout) == (0, "me is revoked\n")
    assert (second.exit_code, second.stderr) == (
        1,
        "session-risk: me: there is no receiver of this name that is not revoked\n",
    )
    (row,) = _json_of("clients", "list")
    assert row["revoked_at"] is not None


def test_revoking_a_client_lists_its_push_endpoints(here: Store) -> None:
    _run("clients", "add", "me", "--aud", "a")
    with here.begin() as conn:
        streams.add(conn, here.sealer, stream(receiver_id="me"))

    _run("clients", "revoke", "me")

    with here.read() as conn:
        assert stream_events.announcements(conn, "s-1", 0)[0][0] == "queued"


# --- Dead letters ---


def _bury(store: Store) -> None:
    with store.begin() as conn:
        for name in ("s-1", "s-2"):
            streams.add(conn, store.sealer, stream(name))
            queue.put(conn, [token(f"{name}-{n}", name) for n in (1, 2)], NOW)
        for seq in (1, 2, 3):
            queue.dead_letter(conn, seq, "invalid_audience", "not for me", NOW + seq)


def test_dead_letters_are_listed_with_the_reason(here: Store) -> None:
    _bury(here)

    output, shown = _json_of("dead-letters", "list", "--most", "2"), _run("dead-letters", "list").stdout

    assert [(item["seq"], item["error"], item["error_text"]) for item in output] == [
        (3, "invalid_audience", "not for me"),
        (2, "invalid_audience", "not for me"),
    ]
    assert shown.count("not for me") == 3
    assert len(_json_of("dead-letters", "list", "--stream", "s-2")) == 1


def test_dead_letters_are_sent_again_by_number_or_by_stream(here: Store) -> None:
    _bury(here)

    done = [_run("dead-letters", "retry", *which) for which in (["1", "9"], ["--stream", "s-1"], ["9"])]

    assert [(result.exit_code, result.output) for result in done] == [
        (0, "1 queued again\n"),
        (0, "1 queued again\n"),
        (1, "session-risk: none of these is a dead letter whose token and stream still exist\n"),
    ]
    assert [item["seq"] for item in _json_of("dead-letters", "list")] == [3]


@pytest.mark.parametrize("which", [[], ["1", "--stream", "s-1"]])
def test_dead_letters_to_retry_are_selected_in_one_way_only(here: Store, which: list[str]) -> None:
    done = _run("dead-letters", "retry", *which)

    assert done.exit_code == 2
    assert "give either numbers, as `dead-letters list` shows them, or --stream" in done.stderr


def test_a_dead_letter_that_cannot_be_sent_again_is_marked(here: Store) -> None:
    _bury(here)
    with here.begin() as conn:
        streams.remove(conn, "s-1", NOW)

    text, shown = (_run("dead-letters", "list", "--stream", "s-1", *more).stdout for more in (["--json"], []))

    assert [load["retriable"] for load in json.loads(text)] == [False, False]
    assert shown.count("(cannot be") == 2


# --- The audit log ---


def test_the_audit_log_is_shown_newest_first(here: Store) -> None:
    with here.begin() as conn:
        audit.insert_entry(conn, AuditEntry(NOW, "create stream", 201, "me", "192.0.2.1", "s-1"))
        audit.insert_entry(conn, AuditEntry(NOW + 1, "read stream", 404, "you", "192.0.2.2", "s-1"))

    output, mine = _json_of("audit"), _json_of("audit", "--client", "me")

    assert [item["receiver_id"] for item in output] == ["you", "me"]
    assert mine == [
        {
            "at": NOW,
            "action": "create stream",
            "status": 201,
            "receiver_id": "me",
            "address": "192.0.2.1",
            "stream_id": "s-1",
        }
    ]
    assert "create stream" in _run("audit").stdout


# --- What goes wrong ---


def test_an_invalid_store_is_a_sentence_and_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_TRANSMITTER_DATABASE", "postgresql://me:sesame@127.0.0.1:1/x")
    monkeypatch.setenv("SESSION_RISK_TRANSMITTER_KEY_FILE", "/proc/none/keys")

    done = _run("keys", "list")

    assert done.exit_code == 2
    assert "sesame" not in done.output
