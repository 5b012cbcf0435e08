"""Settings of the worker, and the loading of all settings from the environment, checked before anything starts.

How sessions are decided about is not set here but in the policy file.
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
    """The environment contains settings that cannot be used; the message has one line for each."""


class Settings(BaseSettings):
    """The settings of one process; read them with `load`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    # Kafka.
    broker: str = Field("127.0.0.1:9092", description="Bootstrap brokers of Kafka: `host:port`, comma separated")
    embedded: bool = Field(default=False, description="Use a broker inside this process, for trials only")
    app_id: str = Field(
        "session-risk",
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="Consumer group; workers of one group share the partitions",
    )
    partitions: int = Field(
        8, ge=1, le=1024, description="Partitions of every topic; cannot be changed once topics exist"
    )
    replication_factor: int = Field(1, ge=1, le=32_767, description="Replicas of every topic; 3 in production")
    session_timeout_s: float = Field(
        10.0,
        ge=6,
        le=1800,
        description="Seconds without a heartbeat after which Kafka reassigns a worker's partitions",
    )
    fetch_wait_ms: int = Field(
        5,
        ge=1,
        le=30_000,
        description="Milliseconds that brokers collect records for a fetch; five times as long for a busy worker",
    )
    security_protocol: Protocol = Field("PLAINTEXT", description="Security protocol of the brokers")
    sasl_mechanism: Mechanism = Field("SCRAM-SHA-512", description="SASL mechanism, with a `SASL_` protocol")
    sasl_username: str | None = Field(None, description="User name for the brokers")
    sasl_password: SecretStr | None = Field(None, description="Password for the brokers; never logged")
    tls_ca_file: Path | None = Field(
        None, description="PEM file with the CA certificates of the brokers; by default the system's"
    )
    tls_cert_file: Path | None = Field(None, description="PEM file with this client's certificate")
    tls_key_file: Path | None = Field(None, description="PEM file with the key of that certificate")

    # Policy and model.
    policy_file: Path | None = Field(
        None, description="Policy file, reloaded when it changes; by default the built-in policy"
    )
    model_dir: Path | None = Field(
        None, description="Folder with one model per sub-folder; by default the included models"
    )
    model: str = Field(
        "default",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Initial champion model, until `model-control` selects another",
    )
    mode: Literal["enforce", "observe"] | None = Field(
        None, description="`observe` reports decisions without acting on them; by default the policy's mode"
    )

    # Input records and event time.
    max_record_bytes: int = Field(
        65_536,
        ge=1024,
        le=16_777_216,
        description="Longest record in bytes; longer ones become dead letters",
    )
    max_future_s: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description="Seconds that an event may be ahead of the wall clock; others become dead letters",
    )
    tenancy: bool = Field(
        default=False,
        description="Accept an event's tenant only if its record's header `tenant` has the same value",
    )
    lateness_s: float = Field(
        10.0, ge=0, le=3600, description="Seconds that event time waits for events that arrive out of order"
    )
    unscored_lag_s: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="Lag in seconds above which sessions without a detection are not scored; 0: always scored",
    )
    sweep_s: float = Field(
        10.0, ge=1, le=3600, description="Seconds of event time between checks for silent, idle and expired sessions"
    )

    # Batches and state.
    chunk_size: int = Field(2048, ge=1, le=4096, description="Maximum number of records processed at once")
    max_sessions_per_partition: int = Field(
        200_000,
        ge=1,
        le=10_000_000,
        description="Maximum number of live sessions; beyond it the largest tenants' least recently used are evicted",
    )
    data_dir: Path = Field(Path(".session-risk"), description="Folder for the worker's own files")

    # Outputs: pseudonyms, metrics and logs.
    pseudonym_key_file: Path | None = Field(
        None, description="File of keys, one per line: id and secret; with it names are output as pseudonyms"
    )
    metrics_host: str = Field("127.0.0.1", min_length=1, description="Address on which the metrics are served")
    metrics_port: int = Field(
        9464,
        ge=0,
        le=65_535,
        description="Port of the worker's metrics; 0: off",
    )
    log_level: LogLevel = Field("INFO", description="Minimum level of logged messages")

    @field_validator("broker")
    @classmethod
    def _are_host_and_port(cls, value: str) -> str:
        if "@" in value:
            raise ValueError(
                f"a broker's address must not contain user or password; set {PREFIX}SASL_USERNAME "
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
        if value is not None and not _exists(value.is_file):
            raise ValueError("there is no such file")
        return value

    @field_validator("model_dir")
    @classmethod
    def _is_a_folder(cls, value: Path | None) -> Path | None:
        if value is not None and not _exists(value.is_dir):
            raise ValueError("there is no such folder")
        return value

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
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


def _exists(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # the name is longer than a file name can be
        return False


_SettingsT = TypeVar("_SettingsT", bound=BaseSettings)
GROUPS: Final[tuple[type[BaseSettings], ...]] = (Settings, TransmitterSettings)
"""The settings of the worker and of all other commands, and those of the transmitter."""


def load(**overrides: Any) -> Settings:
    """Read the settings: *overrides* values first, then the environment, then the defaults.

    Raises `SettingsError` with a line for each setting that cannot be used, and for each `SESSION_RISK_`
    variable that is no setting.
    """
    return _load(Settings, overrides)


def load_transmitter(**overrides: Any) -> TransmitterSettings:
    """Read the settings of the transmitter, as `load` does."""
    return _load(TransmitterSettings, overrides)


def _load(kind: type[_SettingsT], overrides: Mapping[str, Any]) -> _SettingsT:
    unknown = list(_unknown_names(os.environ))
    try:
        settings = kind(**overrides)
    except ValidationError as error:
        raise SettingsError("\n".join([*unknown, *_messages(kind, error)])) from None
    if unknown:
        raise SettingsError("\n".join(unknown))
    return settings


def limits_of(settings: Settings, *, from_topics: bool) -> Limits:
    """Return the limits on records. Only records *from_topics* have headers that authenticate their tenant."""
    future_ms, tenancy = round(settings.max_future_s * 1000), settings.tenancy and from_topics
    return Limits(settings.max_record_bytes, future_ms, tenancy=tenancy)


def env_name(field: str, kind: type[BaseSettings] = Settings) -> str:
    """Return the environment variable of setting *field* of *kind*."""
    return f"{kind.model_config['env_prefix']}{field}".upper()


def _unknown_names(environ: Mapping[str, str]) -> Iterator[str]:
    known = [env_name(field, kind).removeprefix(PREFIX) for kind in GROUPS for field in kind.model_fields]
    for name in sorted(environ):
        rest = name.removeprefix(PREFIX)
        if rest != name and rest not in known:
            similar = get_close_matches(rest, known, n=1)
            yield f"{name}: no such setting" + (f"; is {PREFIX}{similar[0]} meant?" if similar else "")


def _messages(kind: type[BaseSettings], error: ValidationError) -> Iterator[str]:
    for found in error.errors(include_url=False):
        message = found["msg"].removeprefix("Value error, ").replace("Input should", "should")
        if not found["loc"]:
            yield message
            continue
        name = str(found["loc"][0])
        field = kind.model_fields.get(name)
        value = "" if _secret(name, field, found["input"]) else f"={found['input']}"
        explanation = "no such setting" if field is None else field.description
        yield f"{env_name(name, kind)}{value}: {message} ({explanation})"


def _secret(name: str, field: FieldInfo | None, value: object) -> bool:
    holds_password = "password" in name or (name in ("broker", "issuer") and "@" in str(value))
    return holds_password or (field is not None and SecretStr in (field.annotation, *get_args(field.annotation)))
