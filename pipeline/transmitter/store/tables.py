"""Tables of the transmitter's store, for SQLite and PostgreSQL. Times are ms since the epoch, UTC."""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

VERSION = 2
"""Version of these tables. A store of another version is refused with a message, never misread."""

METADATA = MetaData()
_Key = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER is auto-incremented there


def _index(name: str, *columns: str, where: str) -> Index:
    """A partial index: inserts update fewer of them."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


versions = Table("versions", METADATA, Column("version", Integer, primary_key=True))

receivers = Table(
    "receivers",
    METADATA,
    Column("receiver_id", String(128), primary_key=True),
    Column("aud", String(512), nullable=False),
    Column("secret_hash", String(256)),  # NULL: its tokens come from an external authorization server
    Column("scopes", String(64), nullable=False),
    Column("tenant", String(64)),  # its streams get events of this tenant only; NULL: of every tenant
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

tokens = Table(
    "tokens",
    METADATA,
    Column("token_hash", String(64), primary_key=True),
    Column("receiver_id", String(128), ForeignKey("receivers.receiver_id"), nullable=False, index=True),
    Column("scopes", String(64), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

signing_keys = Table(
    "signing_keys",
    METADATA,
    Column("kid", String(64), primary_key=True),
    Column("alg", String(8), nullable=False),
    Column("private_sealed", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("retired_at", BigInteger),  # signs no new tokens; published while tokens signed by it wait
)

streams = Table(
    "streams",
    METADATA,
    Column("stream_id", String(64), primary_key=True),
    Column("receiver_id", String(128), nullable=False, index=True),
    Column("aud", String(512), nullable=False),
    Column("declared", Boolean, nullable=False),  # in the operator's file, not created by the receiver
    Column("description", Text),
    Column("events_requested", JSON),
    Column("method", String(32), nullable=False),
    Column("endpoint_url", Text),
    Column("authorization_sealed", LargeBinary),
    Column("subject_form", String(16), nullable=False),
    Column("subject_in_event", Boolean, nullable=False),
    Column("personal_data", Boolean, nullable=False),
    Column("tenant", String(64)),  # gets events of this tenant only, unless its receiver has one; NULL: of every tenant
    Column("status", String(16), nullable=False),
    Column("status_reason", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("verification_asked_at", BigInteger),
)

stream_subjects = Table(  # subjects that the receiver removed
    "stream_subjects",
    METADATA,
    Column("stream_id", String(64), ForeignKey("streams.stream_id", ondelete="CASCADE"), primary_key=True),
    Column("subject_hash", String(64), primary_key=True),
    Column("subject", JSON, nullable=False),
)

sets = Table(
    "sets",
    METADATA,
    Column("seq", _Key, primary_key=True, autoincrement=True),
    Column("stream_id", String(64), nullable=False),
    Column("jti", String(64), nullable=False),
    Column("lane", String(64), nullable=False),  # ordering key: tokens about one subject are sent one after another
    Column("event", String(32), nullable=False),  # a key of protocol.EVENTS
    Column("kid", String(64), nullable=False),
    Column("jwt", Text),  # NULL once it is delivered
    Column("txn", String(128)),
    Column("revocation_id", String(128)),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", BigInteger, nullable=False),  # neither sent nor handed out again before
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),  # when it was delivered or died
    Column("error", String(64)),
    Column("error_text", Text),
    UniqueConstraint("stream_id", "jti"),
    _index("sets_waiting", "stream_id", "seq", where="state = 'queued'"),
    _index("sets_due", "stream_id", "due_at", "seq", where="state = 'queued'"),
    _index("sets_lanes", "stream_id", "lane", "seq", where="state = 'queued'"),
    _index("sets_of_key", "kid", where="jwt IS NOT NULL"),
    _index("sets_dead", "stream_id", "ended_at", where="state = 'dead'"),
    _index("sets_ended", "ended_at", where="ended_at IS NOT NULL"),
    _index("sets_of_revocation", "revocation_id", where="revocation_id IS NOT NULL"),
)

QUEUED: Final = sets.c.state == literal_column("'queued'")
DEAD: Final = sets.c.state == literal_column("'dead'")
"""Constants in the statement, because a planner uses a partial index only for a constant."""

commands = Table(
    "commands",
    METADATA,
    Column("revocation_id", String(128), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("session_id", String(128), nullable=False),
    Column("principal_id", String(128)),
    Column("decision_id", String(128), nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    Column("deadline", BigInteger, nullable=False),
    Column("sends", Integer, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("delivered_at", BigInteger),
    Column("confirmed_at", BigInteger),
    Column("outcome", String(32)),
    Column("enforcer", String(128)),
)

device_statuses = Table(
    "device_statuses",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("device_id", String(128), primary_key=True),
    Column("compliant", Boolean, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("txn", String(128), nullable=False),  # the decision that changed it, so that a replay gives the same event
    Column("named_by", String(128), nullable=False),  # the session that last reported a fault of it
    Column("well_session", String(128)),  # a session that reported no fault since well_since
    Column("well_since", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    METADATA,
    Column("seq", _Key, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("receiver_id", String(128)),
    Column("address", String(64)),
    Column("action", String(64), nullable=False),
    Column("stream_id", String(64)),
    Column("status", Integer, nullable=False),
)

_CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_ID: Final = re.compile(r"[!-~]{1,128}")


def clean(text: str, limit: int) -> str:
    """Return at most *limit* characters of *text*, with a blank for control characters and lone surrogates."""
    return _CONTROL_CHARACTERS.sub(" ", text[: 4 * limit]).strip()[:limit]


def is_valid_id(text: str) -> bool:
    """Whether *text* can be an id: 1 to 128 visible ASCII characters. Others need no lookup."""
    return _ID.fullmatch(text) is not None
