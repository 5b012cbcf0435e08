"""How those whom something happened to are named to a stream."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.processing.pseudonyms import Key, Pseudonyms
from pipeline.transmitter.protocol import Subject, SubjectForm
from pipeline.transmitter.tokens.subjects import Subjects, SubjectsError
from tests.support.transmitter_records import ISSUER, stream

FILE = """
[[principals]]
tenant = "acme"
match = "u-[0-9]+"
iss = "https://login.acme.example/{tenant}"
sub = "acme|{principal}"
email = "{principal}@acme.example"

[[principals]]
tenant = "acme"
id = "u-7"
sub = "00u7"

[[principals]]
id = "root"
iss = "https://root.example"
sub = "0"

[[principals]]
match = ".*@.*"
email = "{principal}"
"""

ACME = "https://login.acme.example/acme"


@pytest.fixture
def subjects(tmp_path: Path) -> Subjects:
    file = tmp_path / "subjects.toml"
    file.write_text(FILE, encoding="utf-8")
    return Subjects.load(file)


@pytest.mark.parametrize(
    ("tenant", "principal", "form", "expected"),
    [
        ("acme", "u-1", "iss_sub", {"format": "iss_sub", "iss": ACME, "sub": "acme|u-1"}),
        ("acme", "u-1", "email", {"format": "email", "email": "u-1@acme.example"}),
        ("acme", "u-7", "iss_sub", {"format": "iss_sub", "iss": ISSUER, "sub": "00u7"}),
        ("acme", "u-7", "email", None),
        ("acme", "u-x", "iss_sub", None),
        ("umbrella", "u-1", "iss_sub", None),
        ("umbrella", "root", "iss_sub", {"format": "iss_sub", "iss": "https://root.example", "sub": "0"}),
        ("umbrella", "ana@x.example", "email", {"format": "email", "email": "ana@x.example"}),
        ("umbrella", "ana@x.example", "iss_sub", None),
        ("umbrella", "@ x", "email", None),
        ("acme", None, "iss_sub", None),
    ],
)
def test_a_principal_is_named_as_its_own_entry_or_the_first_that_fits_says(
    subjects: Subjects, tenant: str, principal: str | None, form: SubjectForm, expected: object
) -> None:
    subject = Subject(tenant, "s-1", principal, "phone-1")

    assert subjects.identify(subject, stream(subject_form=form), ISSUER) == expected


def test_without_a_file_a_principal_is_called_what_the_pipeline_calls_it() -> None:
    subject, subjects = Subject("default", principal_id="a{0}na"), Subjects.load(None)

    assert subjects.identify(subject, stream(), ISSUER) == {
        "format": "iss_sub",
        "iss": ISSUER,
        "sub": "a{0}na",
    }
    assert subjects.identify(subject, stream(subject_form="email"), ISSUER) is None


@pytest.mark.parametrize("name", ["principal_id", "device_id"])
def test_a_pseudonym_is_never_sent_as_a_name(name: str) -> None:
    pseudonym = Pseudonyms((Key("k-1", b"s" * 32),)).of("principal_id", "default", "ana")
    subject, subjects = Subject("default", **{name: pseudonym}), Subjects.load(None)

    assert subjects.identify(subject, stream(), ISSUER) is None
    assert subjects.identify(subject, stream(subject_form="complex"), ISSUER) is None


def test_a_complex_subject_has_a_member_for_each_that_is_known() -> None:
    subjects, wide = Subjects.load(None), stream(subject_form="complex")
    user = {"format": "iss_sub", "iss": ISSUER, "sub": "ana"}
    session, tenant = {"format": "opaque", "id": "s-1"}, {"format": "opaque", "id": "acme"}
    device = {"format": "iss_sub", "iss": ISSUER, "sub": "phone-1"}

    assert subjects.identify(Subject("acme", "s-1", "ana", "phone-1"), wide, ISSUER) == {
        "format": "complex",
        "user": user,
        "session": session,
        "device": device,
        "tenant": tenant,
    }
    assert subjects.identify(Subject("acme", "s-1"), wide, ISSUER) == {
        "format": "complex",
        "session": session,
        "tenant": tenant,
    }


def test_a_tenant_alone_would_mean_everybody_and_is_no_subject() -> None:
    assert Subjects.load(None).identify(Subject("acme"), stream(subject_form="complex"), ISSUER) is None


def test_in_a_complex_subject_an_address_names_the_user_only_where_personal_data_is_taken(
    subjects: Subjects,
) -> None:
    subject = Subject("umbrella", "s-1", "ana@x.example")

    identifier = subjects.identify(subject, stream(subject_form="complex", personal_data=True), ISSUER)
    kept = subjects.identify(subject, stream(subject_form="complex"), ISSUER)

    assert (identifier or {})["user"] == {"format": "email", "email": "ana@x.example"}
    assert "user" not in (kept or {})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[[principals]]\nsub = '{name}'", "principals.1.sub: {name} is unknown; write {tenant} or"),
        ("[[principals]]\nsub = '{principal.x}'", "principals.1.sub: {principal.x} is unknown"),
        ("[[principals]]\nsub = '{'", "principals.1.sub: "),
        ("[[principals]]\nmatch = '('", "principals.1.match: not a regular expression"),
        ("[[principals]]\nmail = 'x'", "principals.1.mail: Extra inputs are not permitted"),
        ("[[principals]]\nsub = 7", "principals.1.sub: Input should be a valid string"),
        ("principal = []", "principals: Field required"),
        ("[[principals]]\nid = 'a'\nmatch = 'a'", "principals: 1 has an id and a match; write one of them"),
        (
            "[[principals]]\nid = 'a'\n[[principals]]\nid = 'a'",
            "principals: 2 names a of every tenant a second time",
        ),
        ("x", "Expected '=' after a key"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_place_and_the_reason(
    tmp_path: Path, text: str, complaint: str
) -> None:
    file = tmp_path / "subjects.toml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(SubjectsError) as caught:
        Subjects.load(file)

    assert any(line.startswith(f"{file}: {complaint}") for line in str(caught.value).splitlines())


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SubjectsError, match="No such file"):
        Subjects.load(tmp_path / "none.toml")
