"""Connection to the brokers: addresses, TLS and SASL, as arguments of aiokafka, Faust and librdkafka.

The only place that reads certificates; passwords never appear in a repr.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import faust
from faust.types.auth import CredentialsT
from pydantic import SecretStr

from pipeline.kafka import fetch_decoding


class ConnectionSettings(Protocol):
    """The settings from which a `Connection` is made."""

    @property
    def broker(self) -> str: ...
    @property
    def embedded(self) -> bool: ...
    @property
    def security_protocol(self) -> str: ...
    @property
    def sasl_mechanism(self) -> str: ...
    @property
    def sasl_username(self) -> str | None: ...
    @property
    def sasl_password(self) -> SecretStr | None: ...
    @property
    def tls_ca_file(self) -> Path | None: ...
    @property
    def tls_cert_file(self) -> Path | None: ...
    @property
    def tls_key_file(self) -> Path | None: ...


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the brokers are and how to authenticate; an *embedded* one is that of `pipeline.kafka.embedded`."""

    bootstrap: str
    embedded: bool = False
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None

    @classmethod
    def of(cls, settings: ConnectionSettings) -> Connection:
        """Return the connection that *settings* describe; raises `OSError` if a certificate cannot be read."""
        secret = settings.sasl_password
        encrypted = settings.security_protocol.endswith("SSL")
        return cls(
            bootstrap=settings.broker,
            embedded=settings.embedded,
            security_protocol=settings.security_protocol,
            sasl_mechanism=settings.sasl_mechanism,
            username=settings.sasl_username,
            password=None if secret is None else secret.get_secret_value(),
            tls=_tls(settings) if encrypted else None,
            tls_ca_file=settings.tls_ca_file if encrypted else None,
            tls_cert_file=settings.tls_cert_file if encrypted else None,
            tls_key_file=settings.tls_key_file if encrypted else None,
        )

    def for_aiokafka(self) -> dict[str, Any]:
        """Return the arguments that every aiokafka client takes.

        Also installs the tolerant decoding of header names in this process (`pipeline.kafka.fetch_decoding`).
        """
        fetch_decoding.install()
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap.split(","),
            "security_protocol": self.security_protocol,
            "ssl_context": self.tls,
        }
        if self._signs_in:
            arguments["sasl_mechanism"] = self.sasl_mechanism
            arguments["sasl_plain_username"] = self.username
            arguments["sasl_plain_password"] = self.password
        return arguments

    def for_faust(self) -> dict[str, Any]:
        """Return the settings of a Faust app that concern its broker; see :meth:`for_aiokafka`."""
        fetch_decoding.install()
        urls = [f"kafka://{address}" for address in self.bootstrap.split(",")]
        return {"broker": urls, "broker_credentials": self._credentials()}

    def for_librdkafka(self) -> dict[str, Any]:
        """Return the settings of a librdkafka client."""
        given = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism if self._signs_in else None,
            "sasl.username": self.username if self._signs_in else None,
            "sasl.password": self.password if self._signs_in else None,
            "ssl.ca.location": self.tls_ca_file,
            "ssl.certificate.location": self.tls_cert_file,
            "ssl.key.location": self.tls_key_file,
        }
        return {name: str(value) for name, value in given.items() if value is not None}

    @property
    def kafka_principal(self) -> str:
        """How this client would describe its own identity on the brokers, for messages."""
        if self._signs_in:
            return f"user {self.username}"
        return "this client" if self.tls_cert_file is None else f"the owner of {self.tls_cert_file}"

    @property
    def _signs_in(self) -> bool:
        return self.security_protocol.startswith("SASL")

    def _credentials(self) -> CredentialsT | None:
        if self._signs_in:
            return faust.SASLCredentials(
                username=self.username,
                password=self.password,
                mechanism=self.sasl_mechanism,
                ssl_context=self.tls,
            )
        return None if self.tls is None else faust.SSLCredentials(self.tls)


def _tls(settings: ConnectionSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.tls_ca_file)
    if settings.tls_cert_file is not None:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    return context
