"""A receiver that is told of two tenants' principals by the same names is noticed, once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from pipeline.transmitter.protocol import Subject
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.tokens.subjects import AmbiguousNames, Subjects
from tests.support.transmitter_records import AUD, decision, knowing, queued, revocation, stream, token_builder

OTHER = {"tenant": "globex", "decision_id": "d-2", "revocation_id": "r-2"}
ACME = {"tenant": "acme"}

FILES = {
    "none": "",
    "of every tenant": "[[principals]]\nsub = '{principal}'\n",
    "by their id": "[[principals]]\nid = 'ana'\nsub = '0'\n",
    "of each, in our name": "".join(
        f"[[principals]]\ntenant = '{tenant}'\nsub = '{{principal}}'\n" for tenant in ("acme", "globex")
    ),
    "with the tenant": "[[principals]]\niss = 'https://{tenant}.example'\nsub = '{principal}'\n",
    "in the name of each": "".join(
        f"[[principals]]\ntenant = '{tenant}'\niss = 'https://{tenant}'\nsub = '{{principal}}'\n"
        for tenant in ("acme", "globex")
    ),
    "by address": "[[principals]]\nemail = '{principal}@x.example'\n",
    "by an address with the tenant": "[[principals]]\nsub = '{principal}'\nemail = '{principal}@{tenant}.example'\n",
}


def _subjects(folder: Path, which: str) -> Subjects:
    if not FILES[which]:
        return Subjects.load(None)
    file = folder / "subjects.toml"
    file.write_text(FILES[which], encoding="utf-8")
    return Subjects.load(file)


@pytest.mark.parametrize(
    ("which", "form", "alike"),
    [
        ("none", "iss_sub", True),
        ("none", "complex", False),
        ("none", "email", False),
        ("of every tenant", "iss_sub", True),
        ("by their id", "iss_sub", True),
        ("of each, in our name", "iss_sub", True),
        ("with the tenant", "iss_sub", False),
        ("in the name of each", "iss_sub", False),
        ("by address", "email", True),
        ("by an address with the tenant", "email", False),
        ("by an address with the tenant", "iss_sub", True),
        ("by an address with the tenant", "complex", False),
    ],
)
def test_a_receiver_of_two_tenants_whose_names_do_not_tell_them_apart_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, which: str, form: Any, alike: bool
) -> None:
    subjects, stream_read = _subjects(tmp_path, which), stream(subject_form=form)
    namesakes = AmbiguousNames(subjects)
    people = [Subject(tenant, principal_id="ana") for tenant in ("acme", "acme", "globex", "acme", "umbrella")]

    for subject in people:
        namesakes.check(subject, stream_read)

    names = [subjects.identify(named_subject, stream_read, "https://us.example") for named_subject in people]
    assert (names[0] is not None and names[0] == names[2]) is alike
    assert [message.split(" under identifiers")[0] for message in caplog.messages] == [
        f"receiver {AUD} gets principals of the tenants acme and globex"
    ] * alike


def test_two_streams_to_one_receiver_are_one_receiver_and_two_receivers_are_two(
    caplog: pytest.LogCaptureFixture,
) -> None:
    apart, together = AmbiguousNames(Subjects.load(None)), AmbiguousNames(Subjects.load(None))

    for number, tenant in enumerate(("acme", "globex")):
        subject = Subject(tenant, principal_id="ana")
        apart.check(subject, stream(f"st-{number}", tenant=tenant, aud=f"https://{tenant}.example"))
        assert caplog.messages == []
    for number, tenant in enumerate(("acme", "globex")):
        together.check(Subject(tenant, principal_id="ana"), stream(f"st-{number}", tenant=tenant))
    assert len(caplog.messages) == 1


def test_where_tenants_are_strangers_one_s_revocation_names_nobody_of_another(store: Store) -> None:
    made = token_builder(knowing(store, stream("st-1", tenant="acme"), stream("st-2", tenant="globex"), stream("st-3")))
    made.tenancy = True

    made.build([revocation(**ACME), revocation(**OTHER), decision("device_rooted", **ACME)], 0)

    assert {(row.stream_id, row.txn) for row in queued(store)} == {("st-1", "d-1"), ("st-2", "d-2")}


def test_one_name_in_two_tenants_has_two_places_in_the_order_of_a_stream(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    made = token_builder(knowing(store, stream()))

    with caplog.at_level(logging.WARNING):
        made.build([revocation(**ACME), revocation(**OTHER)], 0)

    assert len({row.lane for row in queued(store)}) == 2
    assert len(caplog.messages) == 1
