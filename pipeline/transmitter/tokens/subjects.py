"""How those whom something happened to are named to a stream: RFC 9493 §3, SSF 1.0 §3.

The mapping comes from a TOML file. Each `[[principals]]` says of whom it speaks and what they are called:

    [[principals]]
    tenant = "acme"                   # left out: of every tenant
    match = "u-[0-9]+"                # a regular expression of the whole id; left out: every principal
    iss = "https://login.acme.example"
    sub = "{principal}"
    email = "{principal}@acme.example"

    [[principals]]                    # one principal
    tenant = "acme"
    id = "ana"
    sub = "00u1f4"

Entries with an `id` go first, then the first that fits. `iss` left out is the transmitter's own issuer. An
entry of every tenant without `{tenant}` says that who has one id in two tenants is one person.
Without a file a principal is called what the pipeline calls it, in the name of that issuer.
"""

from __future__ import annotations

import logging
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.transmitter.protocol import Stream, Subject

Identifier = dict[str, Any]

PSEUDONYM: Final = re.compile(r"p:[A-Za-z0-9_-]{1,16}:[A-Za-z0-9_-]{22}")
"""What `pipeline.processing.pseudonyms` puts in place of a name. The other side knows nobody of that name."""
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_FIELDS: Final = ("tenant", "principal")
_Text = Annotated[str, Field(min_length=1, max_length=1024)]


class SubjectsError(ValueError):
    """The file that says how principals are named cannot be used; the message says where and why."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tenant: _Text | None = None
    id: _Text | None = None
    match: re.Pattern[str] | None = None
    iss: _Text | None = None
    sub: _Text | None = None
    email: _Text | None = None

    @field_validator("match", mode="before")
    @classmethod
    def _compiled(cls, value: Any) -> Any:
        try:
            return re.compile(value) if isinstance(value, str) else value
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None

    @field_validator("iss", "sub", "email")
    @classmethod
    def _names_what_there_is(cls, value: str | None) -> str | None:
        for _, name, form, conversion in Formatter().parse(value or ""):
            if name is not None and (name not in _FIELDS or form or conversion):
                raise ValueError(f"{{{name}}} is not known; write {{tenant}} or {{principal}}")
        return value

    def fits(self, tenant: str, principal: str) -> bool:
        """Whether it speaks of *principal*; an entry with an id is looked up, not asked."""
        if self.tenant not in (None, tenant):
            return False
        return self.match is None or self.match.fullmatch(principal) is not None

    def tells_tenants_apart(self, form: str) -> bool:
        """Whether the name it makes, if any, is no other tenant's: by `{tenant}`, or as one of its own."""
        named = [self.email] if form == "email" else [self.sub, self.iss]
        if named[0] is None or any("tenant" in _fields(text) for text in named):
            return True
        return self.tenant is not None and (form == "email" or self.iss is not None)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    principals: list[_Entry]

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        seen: set[tuple[str | None, str]] = set()
        for number, entry in enumerate(self.principals, start=1):
            if entry.id is None:
                continue
            if entry.match is not None:
                raise ValueError(f"{number} has an id and a match; write one of them")
            if (entry.tenant, entry.id) in seen:
                raise ValueError(f"{number} names {entry.id} of {entry.tenant or 'every tenant'} a second time")
            seen.add((entry.tenant, entry.id))
        return self


_PLAIN: Final = _Entry(sub="{principal}")


@dataclass(frozen=True, slots=True)
class Subjects:
    """The mapping: *single* entries by tenant (or none) and id, and *general* ones in their order."""

    single: dict[tuple[str | None, str], _Entry]
    general: tuple[_Entry, ...] = (_PLAIN,)

    @classmethod
    def load(cls, path: Path | None) -> Subjects:
        """Read the file at *path*; of `None`, every principal keeps its name.

        Raises `SubjectsError` with a line for each thing that is wrong with it.
        """
        if path is None:
            return cls({})
        try:
            file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SubjectsError(f"{path}: {error}") from None
        except ValidationError as error:
            raise SubjectsError("\n".join(f"{path}: {line}" for line in _complaints(error))) from None
        single = {
            (principal.tenant, principal.id): principal for principal in file.principals if principal.id is not None
        }
        return cls(single, tuple(principal for principal in file.principals if principal.id is None))

    def identify(self, subject: Subject, stream: Stream, issuer: str) -> Identifier | None:
        """The subject identifier of *who* in the form *stream* wants; `None` where it has no name there.

        A simple form names the principal, also where the news is of its session or device: what is meant is
        any of them. A complex one has a member for each that is known, and what is not there is a wildcard
        (SSF 1.0 §3.3.1): `{tenant}` alone would mean everybody and is no name.
        """
        if stream.subject_form == "complex":
            return self._complex(subject, stream, issuer)
        entry = self._entry(subject)
        return None if entry is None else _simple(stream.subject_form, entry, subject, issuer)

    def alike(self, subject: Subject, stream: Stream) -> bool:
        """Whether *stream* would call another tenant's principal of the same id by the same name.

        A complex subject has its tenant. A simple one tells tenants apart if its entry has `{tenant}`, or is
        of one tenant and names its own `iss` or e-mail address.
        """
        entry = None if stream.subject_form == "complex" else self._entry(subject)
        return entry is not None and not entry.tells_tenants_apart(stream.subject_form)

    def _entry(self, subject: Subject) -> _Entry | None:
        principal = subject.principal_id
        if principal is None or PSEUDONYM.fullmatch(principal):
            return None
        found = self.single.get((subject.tenant, principal)) or self.single.get((None, principal))
        if found is not None:
            return found
        return next((entry for entry in self.general if entry.fits(subject.tenant, principal)), None)

    def _complex(self, subject: Subject, stream: Stream, issuer: str) -> Identifier | None:
        """SSF 1.0 §3.3. An e-mail address names the user only where the stream takes personal data."""
        members: Identifier = {}
        entry = self._entry(subject)
        if entry is not None:
            user = _simple("iss_sub", entry, subject, issuer)
            if user is None and stream.personal_data:
                user = _simple("email", entry, subject, issuer)
            if user is not None:
                members["user"] = user
        if subject.session_id is not None:
            members["session"] = {"format": "opaque", "id": subject.session_id}
        if subject.device_id is not None and not PSEUDONYM.fullmatch(subject.device_id):
            members["device"] = {"format": "iss_sub", "iss": issuer, "sub": subject.device_id}
        if not members:
            return None
        return {"format": "complex", **members, "tenant": {"format": "opaque", "id": subject.tenant}}


def _simple(form: str, entry: _Entry, subject: Subject, issuer: str) -> Identifier | None:
    """RFC 9493 §3.2.2, §3.2.3: the members of the format and no other."""
    named = {"tenant": subject.tenant, "principal": subject.principal_id}
    if form == "email":
        email = None if entry.email is None else entry.email.format_map(named)
        return {"format": "email", "email": email} if email and _EMAIL.fullmatch(email) else None
    if entry.sub is None:
        return None
    iss = issuer if entry.iss is None else entry.iss.format_map(named)
    return {"format": "iss_sub", "iss": iss, "sub": entry.sub.format_map(named)}


def _fields(template: str | None) -> list[str | None]:
    return [name for _, name, _, _ in Formatter().parse(template or "")]


def _complaints(error: ValidationError) -> list[str]:
    lines = []
    for found in error.errors(include_url=False, include_input=False):
        place = found["loc"] or ("principals",)
        where = ".".join(str(number + 1) if isinstance(number, int) else number for number in place)
        lines.append(f"{where}: {found['msg'].removeprefix('Value error, ')}")
    return lines


log = logging.getLogger(__name__)

_MOST: Final = 1000
"""Receivers that are looked at."""


class AmbiguousNames:
    """What each receiver, by its `aud`, was told so far by such names: the first tenant, of *subjects*."""

    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects
        self._first: dict[str, str] = {}
        self._said: set[str] = set()

    def look(self, subject: Subject, stream: Stream) -> None:
        """Say it once for a receiver: *stream* is told of *who*, after another tenant's principals."""
        aud, first = stream.aud, self._first.get(stream.aud)
        if aud in self._said or first == subject.tenant or not self._subjects.alike(subject, stream):
            return
        if first is None:
            if len(self._first) < _MOST:
                self._first[aud] = subject.tenant
            return
        self._said.add(aud)
        log.warning(
            "receiver %s is told of principals of the tenants %s and %s by names that do not say which: who "
            "has the same id in both is one subject there, and what ends the sessions of the one ends those "
            "of the other. Unless they are the same people, let each receiver hear of one tenant, tell them "
            "apart in the file of SESSION_RISK_TRANSMITTER_SUBJECTS_FILE, or choose complex subjects",
            *(aud, first, subject.tenant),
        )
