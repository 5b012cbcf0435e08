"""Every setting of the transmitter beside those that say where Kafka is: one field each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.settings.egress import Allowed, Network

PREFIX: Final = "SESSION_RISK_TRANSMITTER_"
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")

Seconds = Annotated[float, Field(ge=0.05, le=86_400)]


class TransmitterSettings(BaseSettings):
    """The settings of one transmitter; read them with `pipeline.settings.loading.load_transmitter`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    # Who speaks, and where.
    issuer: str = Field(
        "https://localhost:8443",
        pattern=r"^https?://[^\s?#]+$",
        description="Issuer of every token and stem of every address that is published; https, no query",
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address that is listened on")
    port: int = Field(8443, ge=1, le=65_535, description="Port that is listened on")
    group: str = Field(
        "transmitter-session-risk",
        pattern=r"^transmitter-[A-Za-z0-9._-]{1,180}$",
        description="Consumer group in Kafka",
    )
    metrics_port: int = Field(9474, ge=0, le=65_535, description="Port of its metrics; 0 is off")
    tls_cert_file: Path | None = Field(None, description="PEM file it shows; else a proxy speaks TLS for it")
    tls_key_file: Path | None = Field(None, description="PEM file with the key of that certificate")
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks of proxies, comma separated, whose X-Forwarded-For is believed",
    )
    max_connections: int = Field(
        500, ge=4, le=100_000, description="Connections at a time; one address gets no more than half"
    )

    # What it remembers.
    database: SecretStr = Field(
        SecretStr("sqlite:///session-risk-transmitter.db"),
        description="Store, as SQLAlchemy writes it: `sqlite:///FILE` or `postgresql+psycopg://…`",
    )
    key_file: Path | None = Field(
        None,
        description="Keys that seal secrets in the store, one a line, the first seals; made if missing; "
        "else beside the SQLite file",
    )
    streams_file: Path | None = Field(None, description="TOML file of streams for receivers without a management API")
    subjects_file: Path | None = Field(
        None, description="TOML file that says how principals are named on the other side"
    )

    # What it signs.
    alg: Literal["RS256", "ES256"] = Field("RS256", description="Signature of new keys")
    rsa_bits: int = Field(2048, ge=2048, le=8192, description="Length of new RSA keys")
    dry_run: bool = Field(default=False, description="Log what would be sent; send nothing")

    # Who may ask.
    token_issuer: str | None = Field(
        None, description="Issuer of access tokens outside; else the built-in token endpoint"
    )
    token_jwks_url: str | None = Field(None, description="Where its keys are")
    token_audience: str | None = Field(None, description="Audience its tokens must name; else the issuer")
    token_longest_s: int = Field(
        3600, ge=60, le=86_400, description="Longest lifetime of its tokens; longer ones are refused"
    )
    token_lifetime_s: float = Field(3600.0, ge=1, le=3600, description="How long a built-in token is good")
    requests_per_minute: int = Field(
        600, ge=1, description="Of one receiver; and of one address those without a good token, by kind"
    )
    max_body_bytes: int = Field(1_048_576, ge=1024, description="Longest body that is read")
    max_streams: int = Field(20, ge=1, le=10_000, description="Streams of one receiver")

    # Delivery.
    push_timeout_s: Seconds = Field(10.0, description="How long a receiver may take to answer a push")
    push_attempts: int = Field(
        8,
        ge=1,
        le=100,
        description="Tries before a token is a dead letter, none counted while its receiver is down",
    )
    push_backoff_s: Seconds = Field(1.0, description="First pause between two tries; each may be twice as long")
    push_backoff_max_s: Seconds = Field(300.0, description="Longest pause between two tries")
    push_at_once: int = Field(8, ge=1, le=256, description="Pushes of one stream under way at once")
    redelivery_s: Seconds = Field(60.0, description="After this, a polled token without a word is handed out again")
    long_poll_s: Seconds = Field(30.0, description="Longest wait of a poll for something to come")
    max_poll: int = Field(100, ge=1, le=10_000, description="Most tokens in the answer to a poll")
    hold_sets: int = Field(
        10_000,
        ge=1,
        description="Tokens a paused stream holds, or one nobody takes from; others ten times as many",
    )
    hold_s: float = Field(86_400.0, ge=1, description="How long it holds them")
    min_verification_s: int = Field(60, ge=0, le=86_400, description="Least time between two verifications")
    keep_days: float = Field(30.0, ge=1, le=3650, description="Days that dead letters and the audit log are kept")

    # Whom it talks to.
    allow_hosts: str = Field("", description="Hosts or networks, comma separated, that may be private")
    allow_insecure: bool = Field(default=False, description="Plain http and loopback too: for trials and tests only")

    # Revocations.
    confirm_within_s: Seconds = Field(60.0, description="A revocation confirmed within this counts as in time")

    @field_validator("tls_cert_file", "tls_key_file", "streams_file", "subjects_file")
    @classmethod
    def _is_a_file(cls, value: Path | None) -> Path | None:
        if value is not None and not _there(value):
            raise ValueError("there is no such file")
        return value

    @field_validator("issuer")
    @classmethod
    def _is_read_in_one_way(cls, value: str) -> str:
        at = urlsplit(value)
        if not at.hostname or "@" in at.netloc or at.port == 0:
            raise ValueError("must name a host, without user and password")
        if not _PATH.fullmatch(at.path) or {".", "..", ".well-known"} & set(at.path.split("/")):
            raise ValueError("its path must be plain: letters, digits and ._~- between single slashes")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _names_addresses(cls, value: str) -> str:
        listed = Allowed.of(value)
        if listed.hosts:
            raise ValueError(f"{min(listed.hosts)!r} is neither an address nor a network")
        if any(network.prefixlen == 0 for network in listed.networks):
            raise ValueError("to trust everybody is to believe what anybody says of where they are")
        return value

    @field_validator("allow_hosts")
    @classmethod
    def _names_hosts_or_networks(cls, value: str) -> str:
        Allowed.of(value)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError(f"{PREFIX}TLS_CERT_FILE and {PREFIX}TLS_KEY_FILE belong together; set both")
        if self.token_issuer is not None and self.token_jwks_url is None:
            raise ValueError(f"{PREFIX}TOKEN_ISSUER needs {PREFIX}TOKEN_JWKS_URL: where its keys are")
        if self.token_jwks_url is not None and self.token_issuer is None:
            raise ValueError(f"{PREFIX}TOKEN_JWKS_URL needs {PREFIX}TOKEN_ISSUER: whose keys these are")
        if self.issuer.startswith("http:") and not self.allow_insecure:
            raise ValueError(f"{PREFIX}ISSUER={self.issuer}: must be https (SSF 1.0 §7.1)")
        if (self.token_jwks_url or "https:").startswith("http:") and not self.allow_insecure:
            raise ValueError(f"{PREFIX}TOKEN_JWKS_URL={self.token_jwks_url}: must be https")
        if self.push_backoff_s > self.push_backoff_max_s:
            raise ValueError(
                f"{PREFIX}PUSH_BACKOFF_S={self.push_backoff_s}: must not be longer than "
                f"{PREFIX}PUSH_BACKOFF_MAX_S={self.push_backoff_max_s}"
            )
        return self

    @property
    def proxies(self) -> tuple[Network, ...]:
        """The networks of the proxies that are trusted."""
        return Allowed.of(self.trusted_proxies).networks


def _there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # its name is longer than any file's
        return False
