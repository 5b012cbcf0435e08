"""Subject mapping: the subject identifiers of principals for each stream (RFC 9493 §3, SSF 1.0 §3).

The mapping is a TOML file. Each `[[principals]]` entry selects principals and gives their identifiers:

    [[principals]]
    tenant = "acme"                   # left out: every tenant
    match = "u-[0-9]+"                # a regular expression of the whole id; left out: every principal
    iss = "https://login.acme.example"
    sub = "{principal}"
    email = "{principal}@acme.example"

    [[principals]]                    # one principal
    tenant = "acme"
    id = "ana"
    sub = "00u1f4"

Entries with an `id` take precedence, then the first that matches. The default of `iss` is the transmitter's
issuer. An entry for every tenant without `{tenant}` means that one id in two tenants is one person. Without a
file, a principal is identified by its id in the pipeline and that issuer.
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
"""What `pipeline.processing.pseudonyms` puts in place of a name. A receiver knows nobody of that name."""
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_FIELDS: Final = ("tenant", "principal")
_NonEmpty = Annotated[str, Field(min_length=1, max_length=1024)]


class SubjectsError(ValueError):
    """The file of the mapping cannot be used; the message says where and why."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tenant: _NonEmpty | None = None
    id: _NonEmpty | None = None
    match: re.Pattern[str] | None = None
    iss: _NonEmpty | None = None
    sub: _NonEmpty | None = None
    email: _NonEmpty | None = None

    @field_validator("match", mode="before")
    @classmethod
    def _compiled(cls, value: Any) -> Any:
        try:
            return re.compile(value) if isinstance(value, str) else value
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None

    @field_validator("iss", "sub", "email")
    @classmethod
    def _has_known_placeholders(cls, value: str | None) -> str | None:
        for _, name, subject_format, conversion in Formatter().parse(value or ""):
            if name is not None and (name not in _FIELDS or subject_format or conversion):
                raise ValueError(f"{{{name}}} is unknown; write {{tenant}} or {{principal}}")
        return value

    def applies_to(self, tenant: str, principal: str) -> bool:
        """Whether it applies to *principal*; an entry with an id is looked up instead."""
        if self.tenant not in (None, tenant):
            return False
        return self.match is None or self.match.fullmatch(principal) is not None

    def is_unique_over_tenants(self, subject_format: str) -> bool:
        """Whether its identifier is unique over tenants: by `{tenant}`, or because the entry is of one tenant."""
        values = [self.email] if subject_format == "email" else [self.sub, self.iss]
        if values[0] is None or any("tenant" in _fields(text) for text in values):
            return True
        return self.tenant is not None and (subject_format == "email" or self.iss is not None)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    principals: list[_Entry]

    @model_validator(mode="after")
    def _has_unique_ids(self) -> Self:
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


_IDENTITY: Final = _Entry(sub="{principal}")


@dataclass(frozen=True, slots=True)
class Subjects:
    """The mapping: *single* entries by tenant (or `None`) and id, and *general* ones in their order."""

    single: dict[tuple[str | None, str], _Entry]
    general: tuple[_Entry, ...] = (_IDENTITY,)

    @classmethod
    def load(cls, path: Path | None) -> Subjects:
        """Read the file at *path*; `None`: every principal is identified by its id.

        Raises `SubjectsError` with a line for each error in it.
        """
        if path is None:
            return cls({})
        try:
            file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SubjectsError(f"{path}: {error}") from None
        except ValidationError as error:
            raise SubjectsError("\n".join(f"{path}: {line}" for line in _messages(error))) from None
        single = {
            (principal.tenant, principal.id): principal for principal in file.principals if principal.id is not None
        }
        return cls(single, tuple(principal for principal in file.principals if principal.id is None))

    def identify(self, subject: Subject, stream: Stream, issuer: str) -> Identifier | None:
        """The subject identifier of *subject* in the stream's format; `None` if it has none.

        A simple format names the principal, even if the event is about its session or device. A complex one has
        a field for each known part, and an absent field is a wildcard (SSF 1.0 §3.3.1): `{tenant}` alone would
        mean everybody and is no identifier.
        """
        if stream.subject_form == "complex":
            return self._complex(subject, stream, issuer)
        entry = self._entry(subject)
        return None if entry is None else _simple(stream.subject_form, entry, subject, issuer)

    def is_ambiguous(self, subject: Subject, stream: Stream) -> bool:
        """Whether *stream* would give another tenant's principal with the same id the same identifier.

        A complex subject contains its tenant. A simple one is unique if its entry has `{tenant}`, or is of one
        tenant and has its own `iss` or e-mail address.
        """
        entry = None if stream.subject_form == "complex" else self._entry(subject)
        return entry is not None and not entry.is_unique_over_tenants(stream.subject_form)

    def _entry(self, subject: Subject) -> _Entry | None:
        principal = subject.principal_id
        if principal is None or PSEUDONYM.fullmatch(principal):
            return None
        found = self.single.get((subject.tenant, principal)) or self.single.get((None, principal))
        if found is not None:
            return found
        return next((entry for entry in self.general if entry.applies_to(subject.tenant, principal)), None)

    def _complex(self, subject: Subject, stream: Stream, issuer: str) -> Identifier | None:
        """SSF 1.0 §3.3. An e-mail address identifies the user only if the stream accepts personal data."""
        fields: Identifier = {}
        entry = self._entry(subject)
        if entry is not None:
            user = _simple("iss_sub", entry, subject, issuer)
            if user is None and stream.personal_data:
                user = _simple("email", entry, subject, issuer)
            if user is not None:
                fields["user"] = user
        if subject.session_id is not None:
            fields["session"] = {"format": "opaque", "id": subject.session_id}
        if subject.device_id is not None and not PSEUDONYM.fullmatch(subject.device_id):
            fields["device"] = {"format": "iss_sub", "iss": issuer, "sub": subject.device_id}
        if not fields:
            return None
        return {"format": "complex", **fields, "tenant": {"format": "opaque", "id": subject.tenant}}


def _simple(subject_format: str, entry: _Entry, subject: Subject, issuer: str) -> Identifier | None:
    """RFC 9493 §3.2.2, §3.2.3: the fields of the format and no other."""
    values = {"tenant": subject.tenant, "principal": subject.principal_id}
    if subject_format == "email":
        email = None if entry.email is None else entry.email.format_map(values)
        return {"format": "email", "email": email} if email and _EMAIL.fullmatch(email) else None
    if entry.sub is None:
        return None
    iss = issuer if entry.iss is None else entry.iss.format_map(values)
    return {"format": "iss_sub", "iss": iss, "sub": entry.sub.format_map(values)}


def _fields(template: str | None) -> list[str | None]:
    return [name for _, name, _, _ in Formatter().parse(template or "")]


def _messages(error: ValidationError) -> list[str]:
    lines = []
    for found in error.errors(include_url=False, include_input=False):
        place = found["loc"] or ("principals",)
        where = ".".join(str(number + 1) if isinstance(number, int) else number for number in place)
        lines.append(f"{where}: {found['msg'].removeprefix('Value error, ')}")
    return lines


log = logging.getLogger(__name__)

_MAX_RECEIVERS: Final = 1000
"""Number of receivers that are checked."""


class AmbiguousNames:
    """Warns when a receiver gets principals of two tenants under identifiers that do not contain the tenant."""

    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects
        self._first_tenant: dict[str, str] = {}
        self._warned: set[str] = set()

    def check(self, subject: Subject, stream: Stream) -> None:
        """Check a token for *subject* on *stream*, and warn once per receiver."""
        aud, first_tenant = stream.aud, self._first_tenant.get(stream.aud)
        if aud in self._warned or first_tenant == subject.tenant or not self._subjects.is_ambiguous(subject, stream):
            return
        if first_tenant is None:
            if len(self._first_tenant) < _MAX_RECEIVERS:
                self._first_tenant[aud] = subject.tenant
            return
        self._warned.add(aud)
        log.warning(
            "receiver %s gets principals of the tenants %s and %s under identifiers without the tenant: the same "
            "id in both is one subject there, and revoking the sessions of one revokes those of the other. "
            "Unless they are the same people, give each receiver one tenant, add the tenant to the identifiers "
            "in the file of SESSION_RISK_TRANSMITTER_SUBJECTS_FILE, or use complex subjects",
            *(aud, first_tenant, subject.tenant),
        )
