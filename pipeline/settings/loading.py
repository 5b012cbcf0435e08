"""Every setting of the program: one field each, read from the environment, checked before anything starts.

What is decided about sessions is not set here but in the policy file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar, get_args

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.settings.transmitter import TransmitterSettings
from schemas.decoded import Limits

PREFIX: Final = "SESSION_RISK_"

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class SettingsError(ValueError):
    """The environment holds a setting that cannot be used; the message has one line for each."""


class Settings(BaseSettings):
    """The settings of one process; read them with `load`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    # Where Kafka is, and what this program asks of it.
    broker: str = Field("127.0.0.1:9092", description="Kafka brokers to start from: `host:port`, comma separated")
    embedded: bool = Field(default=False, description="Use the broker inside this process: for trying out only")
    app_id: str = Field(
        "session-risk",
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="Consumer group; workers with the same one share the partitions",
    )
    partitions: int = Field(8, ge=1, le=1024, description="Partitions of every topic; fixed once topics exist")
    replication_factor: int = Field(1, ge=1, le=32_767, description="Copies of every topic; 3 in production")
    session_timeout_s: float = Field(
        10.0,
        ge=6,
        le=1800,
        description="Seconds without a heartbeat after which Kafka takes a worker's partitions",
    )
    fetch_wait_ms: int = Field(
        5,
        ge=1,
        le=30_000,
        description="How long brokers collect records for a fetch; five times as long for a busy worker",
    )
    security_protocol: Protocol = Field("PLAINTEXT", description="How to talk to the brokers")
    sasl_mechanism: Mechanism = Field("SCRAM-SHA-512", description="How to sign in, with a `SASL_` protocol")
    sasl_username: str | None = Field(None, description="Who signs in to the brokers")
    sasl_password: SecretStr | None = Field(None, description="Their password; never logged")
    tls_ca_file: Path | None = Field(None, description="PEM file that vouches for the brokers; else the system's")
    tls_cert_file: Path | None = Field(None, description="PEM file with this client's certificate")
    tls_key_file: Path | None = Field(None, description="PEM file with the key of that certificate")

    # What decides.
    policy_file: Path | None = Field(None, description="Policy file, read again when it changes; else the default")
    model_dir: Path | None = Field(None, description="Folder with a model in each sub-folder; else the ones that ship")
    model: str = Field(
        "default",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Champion to begin with, until `model-control` names another",
    )
    mode: Literal["enforce", "observe"] | None = Field(
        None, description="`observe` reports and commands nothing; else what the policy says"
    )

    # What is taken in, and how time passes.
    max_record_bytes: int = Field(
        65_536,
        ge=1024,
        le=16_777_216,
        description="Longest record that is read; longer ones are dead letters",
    )
    max_future_s: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description="How far ahead of the wall clock an event may be before it is refused",
    )
    tenancy: bool = Field(
        default=False,
        description="Believe an event's tenant only if its record's header `tenant` says the same",
    )
    lateness_s: float = Field(
        10.0, ge=0, le=3600, description="How far event time waits for events that arrive out of order"
    )
    unscored_lag_s: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="Lag from which the model passes over sessions no detection speaks about; 0 is never",
    )
    sweep_s: float = Field(
        10.0, ge=1, le=3600, description="Event time between searches for silent, idle and expired sessions"
    )

    # How much is done and held at once.
    chunk_size: int = Field(2048, ge=1, le=4096, description="Most records handled at once")
    max_sessions_per_partition: int = Field(
        200_000,
        ge=1,
        le=10_000_000,
        description="Live sessions held; above it the longest idle of the tenants with most are evicted",
    )
    data_dir: Path = Field(Path(".session-risk"), description="Folder for the worker's own files")

    # What others see.
    pseudonym_key_file: Path | None = Field(
        None, description="Keys, a line each: id and secret; with them names leave as pseudonyms"
    )
    metrics_host: str = Field("127.0.0.1", min_length=1, description="Address the metrics are served on")
    metrics_port: int = Field(
        9464,
        ge=0,
        le=65_535,
        description="Port of the worker's metrics; 0 is off",
    )
    log_level: LogLevel = Field("INFO", description="Least urgent messages that are logged")

    @field_validator("broker")
    @classmethod
    def _has_hosts_and_ports(cls, value: str) -> str:
        if "@" in value:
            raise ValueError(
                f"a broker's address holds no user and no password; they go to {PREFIX}SASL_USERNAME "
                f"and {PREFIX}SASL_PASSWORD"
            )
        for address in value.split(","):
            host, _, port = address.strip().rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
                raise ValueError(f"{address.strip()!r} is not a broker's address; write host:port")
        return ",".join(address.strip() for address in value.split(","))

    @field_validator("policy_file", "tls_ca_file", "tls_cert_file", "tls_key_file", "pseudonym_key_file")
    @classmethod
    def _is_a_file(cls, value: Path | None) -> Path | None:
        if value is not None and not _is(value.is_file):
            raise ValueError("there is no such file")
        return value

    @field_validator("model_dir")
    @classmethod
    def _is_a_folder(cls, value: Path | None) -> Path | None:
        if value is not None and not _is(value.is_dir):
            raise ValueError("there is no such folder")
        return value

    @model_validator(mode="after")
    def _signs_in_completely(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise ValueError(
                f"{PREFIX}SECURITY_PROTOCOL={self.security_protocol} needs {PREFIX}SASL_USERNAME "
                f"and {PREFIX}SASL_PASSWORD"
            )
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError(f"{PREFIX}TLS_CERT_FILE and {PREFIX}TLS_KEY_FILE belong together; set both")
        if self.embedded and self.security_protocol != "PLAINTEXT":
            raise ValueError(f"the embedded broker speaks PLAINTEXT only; unset {PREFIX}SECURITY_PROTOCOL")
        return self


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # its name is longer than any file's
        return False


_Kind = TypeVar("_Kind", bound=BaseSettings)
GROUPS: Final[tuple[type[BaseSettings], ...]] = (Settings, TransmitterSettings)
"""The settings of a worker and of everything around it, and those of the transmitter."""


def load(**given: Any) -> Settings:
    """Read the settings: what is *given* first, then the environment, then the defaults.

    Raises `SettingsError` with a line for each setting that cannot be used, and for each `SESSION_RISK_` name
    that no setting has.
    """
    return _load(Settings, given)


def load_transmitter(**given: Any) -> TransmitterSettings:
    """Read the settings of the transmitter as `load` does the others."""
    return _load(TransmitterSettings, given)


def _load(kind: type[_Kind], given: Mapping[str, Any]) -> _Kind:
    unknown = list(_unknown_names(os.environ))
    try:
        settings = kind(**given)
    except ValidationError as error:
        raise SettingsError("\n".join([*unknown, *_complaints(kind, error)])) from None
    if unknown:
        raise SettingsError("\n".join(unknown))
    return settings


def limits_of(settings: Settings, *, from_topics: bool) -> Limits:
    """Return what records must keep to. Only what comes *from_topics* has headers that vouch for a tenant."""
    future_ms, tenancy = round(settings.max_future_s * 1000), settings.tenancy and from_topics
    return Limits(settings.max_record_bytes, future_ms, tenancy=tenancy)


def env_name(field: str, kind: type[BaseSettings] = Settings) -> str:
    """Return the environment variable of the setting *field* of *kind*."""
    return f"{kind.model_config['env_prefix']}{field}".upper()


def _unknown_names(environ: Mapping[str, str]) -> Iterator[str]:
    known = [env_name(field, kind).removeprefix(PREFIX) for kind in GROUPS for field in kind.model_fields]
    for name in sorted(environ):
        rest = name.removeprefix(PREFIX)
        if rest != name and rest not in known:
            near = get_close_matches(rest, known, n=1)
            yield f"{name}: no such setting" + (f"; is {PREFIX}{near[0]} meant?" if near else "")


def _complaints(kind: type[BaseSettings], error: ValidationError) -> Iterator[str]:
    for found in error.errors(include_url=False):
        message = found["msg"].removeprefix("Value error, ").replace("Input should", "should")
        if not found["loc"]:
            yield message
            continue
        name = str(found["loc"][0])
        field = kind.model_fields.get(name)
        value = "" if _secret(name, field, found["input"]) else f"={found['input']}"
        about = "no such setting" if field is None else field.description
        yield f"{env_name(name, kind)}{value}: {message} ({about})"


def _secret(name: str, field: FieldInfo | None, value: object) -> bool:
    holds_password = "password" in name or (name in ("broker", "issuer") and "@" in str(value))
    return holds_password or (field is not None and SecretStr in (field.annotation, *get_args(field.annotation)))
