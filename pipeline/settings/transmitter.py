"""Settings of the transmitter, besides those of Kafka in `pipeline.settings.loading`."""

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

    # Issuer, addresses and TLS.
    issuer: str = Field(
        "https://localhost:8443",
        pattern=r"^https?://[^\s?#]+$",
        description="Issuer of every token, and base of every published URL; https, no query",
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on")
    port: int = Field(8443, ge=1, le=65_535, description="Port to listen on")
    group: str = Field(
        "transmitter-session-risk",
        pattern=r"^transmitter-[A-Za-z0-9._-]{1,180}$",
        description="Consumer group in Kafka",
    )
    metrics_port: int = Field(9474, ge=0, le=65_535, description="Port of its metrics; 0: off")
    tls_cert_file: Path | None = Field(
        None, description="PEM file with its certificate; without it a proxy must terminate TLS"
    )
    tls_key_file: Path | None = Field(None, description="PEM file with the key of that certificate")
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks of proxies, comma separated, whose X-Forwarded-For is trusted",
    )
    max_connections: int = Field(
        500, ge=4, le=100_000, description="Maximum number of connections; one address gets at most half"
    )

    # Store and files.
    database: SecretStr = Field(
        SecretStr("sqlite:///session-risk-transmitter.db"),
        description="SQLAlchemy URL of the store: `sqlite:///FILE` or `postgresql+psycopg://…`",
    )
    key_file: Path | None = Field(
        None,
        description="File of keys that encrypt secrets in the store, one per line, the first encrypts; created if "
        "missing; by default beside the SQLite file",
    )
    streams_file: Path | None = Field(
        None, description="TOML file of declared streams, for receivers that cannot create their own"
    )
    subjects_file: Path | None = Field(None, description="TOML file that maps principals to subject identifiers")

    # Tokens.
    alg: Literal["RS256", "ES256"] = Field("RS256", description="Algorithm of new signing keys")
    rsa_bits: int = Field(2048, ge=2048, le=8192, description="Length of new RSA keys in bits")
    dry_run: bool = Field(default=False, description="Log tokens instead of sending them")

    # Access to the API.
    token_issuer: str | None = Field(
        None, description="External issuer of access tokens; by default the built-in token endpoint issues them"
    )
    token_jwks_url: str | None = Field(None, description="URL of the external issuer's JWK Set")
    token_audience: str | None = Field(None, description="Audience that external tokens must have; by default `ISSUER`")
    token_longest_s: int = Field(
        3600, ge=60, le=86_400, description="Longest lifetime of external tokens in seconds; longer ones are refused"
    )
    token_lifetime_s: float = Field(3600.0, ge=1, le=3600, description="Lifetime of built-in tokens in seconds")
    requests_per_minute: int = Field(
        600, ge=1, description="Requests per receiver; and per address and kind, those without a valid token"
    )
    max_body_bytes: int = Field(1_048_576, ge=1024, description="Longest request body in bytes")
    max_streams: int = Field(20, ge=1, le=10_000, description="Maximum number of streams per receiver")

    # Delivery.
    push_timeout_s: Seconds = Field(10.0, description="Seconds that a receiver may take to respond to a push")
    push_attempts: int = Field(
        8,
        ge=1,
        le=100,
        description="Attempts before a token becomes a dead letter; none count while its receiver is down",
    )
    push_backoff_s: Seconds = Field(
        1.0, description="Seconds before the first retry at most; doubled for each further one"
    )
    push_backoff_max_s: Seconds = Field(300.0, description="Longest pause between two attempts in seconds")
    push_at_once: int = Field(8, ge=1, le=256, description="Concurrent pushes of one stream")
    redelivery_s: Seconds = Field(
        60.0, description="Seconds after which a polled token that was not acknowledged is returned again"
    )
    long_poll_s: Seconds = Field(30.0, description="Longest wait of a poll for new tokens in seconds")
    max_poll: int = Field(100, ge=1, le=10_000, description="Maximum number of tokens in the response to a poll")
    hold_sets: int = Field(
        10_000,
        ge=1,
        description="Tokens held by a paused stream, or one whose receiver takes none; others hold ten times as many",
    )
    hold_s: float = Field(86_400.0, ge=1, description="Seconds that a stream holds tokens")
    min_verification_s: int = Field(
        60, ge=0, le=86_400, description="Shortest time between two verifications in seconds"
    )
    keep_days: float = Field(30.0, ge=1, le=3650, description="Retention of dead letters and the audit log in days")

    # Egress.
    allow_hosts: str = Field(
        "", description="Hosts or networks with private addresses that may be pushed to, comma separated"
    )
    allow_insecure: bool = Field(
        default=False, description="Also permit plain http and loopback addresses, for trials and tests only"
    )

    # Revocations.
    confirm_within_s: Seconds = Field(60.0, description="Seconds within which a confirmed revocation counts as in time")

    @field_validator("tls_cert_file", "tls_key_file", "streams_file", "subjects_file")
    @classmethod
    def _is_a_file(cls, value: Path | None) -> Path | None:
        if value is not None and not _is_existing_file(value):
            raise ValueError("there is no such file")
        return value

    @field_validator("issuer")
    @classmethod
    def _is_unambiguous_url(cls, value: str) -> str:
        url = urlsplit(value)
        if not url.hostname or "@" in url.netloc or url.port == 0:
            raise ValueError("must name a host, without user and password")
        if not _PATH.fullmatch(url.path) or {".", "..", ".well-known"} & set(url.path.split("/")):
            raise ValueError("its path must be plain: letters, digits and ._~- between single slashes")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        listed = Allowed.of(value)
        if listed.hosts:
            raise ValueError(f"{min(listed.hosts)!r} is neither an address nor a network")
        if any(network.prefixlen == 0 for network in listed.networks):
            raise ValueError("trusting every address would let anyone forge the client address")
        return value

    @field_validator("allow_hosts")
    @classmethod
    def _are_hosts_or_networks(cls, value: str) -> str:
        Allowed.of(value)
        return value

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError(f"{PREFIX}TLS_CERT_FILE and {PREFIX}TLS_KEY_FILE belong together; set both")
        if self.token_issuer is not None and self.token_jwks_url is None:
            raise ValueError(f"{PREFIX}TOKEN_ISSUER needs {PREFIX}TOKEN_JWKS_URL: the URL of its JWK Set")
        if self.token_jwks_url is not None and self.token_issuer is None:
            raise ValueError(f"{PREFIX}TOKEN_JWKS_URL needs {PREFIX}TOKEN_ISSUER: the issuer of these keys")
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
        """The networks of the trusted proxies."""
        return Allowed.of(self.trusted_proxies).networks


def _is_existing_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is longer than a file name can be
        return False
