"""A Kafka for tests that tells nothing to strangers: deploy/kafka/run.sh --secure, and users of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from pipeline.kafka.acls import Right
from pipeline.kafka.connection import Connection
from pipeline.settings.loading import PREFIX, Settings, env_name

ROOT = Path(__file__).parent.parent.parent
KAFKA = ROOT / "deploy" / "kafka"
PORTS = range(9592, 9692, 4)
"""Where it listens: passwords, controller, certificates."""


class SecureKafka:
    """The node, what its users sign in with, and the command line in their names."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.tls = folder / "tls"
        self.passwords: dict[str, str] = {}

    def add_users(self, *names: str) -> None:
        """Let each of *names* sign in with a password, or with a certificate of that name."""
        subprocess.run([str(KAFKA / "certificates.sh"), str(self.tls), *names], check=True)
        self.passwords |= {name: token_urlsafe(24) for name in names}
        how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        users: list[UserScramCredentialAlteration] = [
            UserScramCredentialUpsertion(name, how, self.passwords[name].encode()) for name in names
        ]
        admin = self.admin()  # when it goes, so do its answers
        for done in admin.alter_user_scram_credentials(users).values():
            done.result(20)

    def admin(self) -> AdminClient:
        """Return a client of the super user."""
        return AdminClient(self.connection("admin", "SSL").for_librdkafka())

    def take_away(self, name: str, right: Right) -> None:
        """Let *name* no longer have *right*."""
        held = AclBindingFilter(
            ResourceType[right.resource.upper()],
            right.name,
            ResourcePatternType.LITERAL,
            f"User:{name}",
            "*",
            AclOperation[right.operation.upper()],
            AclPermissionType.ANY,
        )
        admin = self.admin()
        (done,) = admin.delete_acls([held]).values()
        assert len(done.result(20)) == 1

    def settings(self, name: str, protocol: str = "SASL_SSL") -> dict[str, str]:
        """Return the settings with which *name* connects, as the environment has them."""
        shared = {"security_protocol": protocol, "tls_ca_file": str(self.tls / "ca.crt")}
        shared |= {"partitions": "2", "metrics_port": "0", "app_id": "secured"}
        if protocol == "SSL":
            own = {
                "broker": f"127.0.0.1:{self.port + 2}",
                "tls_cert_file": str(self.tls / f"{name}.crt"),
                "tls_key_file": str(self.tls / f"{name}.key"),
            }
        else:
            own = {
                "broker": f"127.0.0.1:{self.port}",
                "sasl_username": name,
                "sasl_password": self.passwords[name],
            }
        return {env_name(setting): value for setting, value in (shared | own).items()}

    def connection(self, name: str, protocol: str = "SASL_SSL", **settings: str) -> Connection:
        """Return how *name* connects."""
        own = {env_name(setting): value for setting, value in settings.items()}
        given = (self.settings(name, protocol) | own).items()
        return Connection.of(Settings(**{setting.removeprefix(PREFIX).lower(): v for setting, v in given}))  # type: ignore[arg-type]

    def run(self, name: str, *command: str, protocol: str = "SASL_SSL", **settings: str) -> tuple[int, str, str]:
        """Run `session-risk COMMAND` in the name of *name*; return exit code, output and errors."""
        with self._started(name, command, protocol, settings, subprocess.PIPE) as process:
            try:
                out, err = process.communicate(timeout=120)
            finally:
                process.kill()
        return process.returncode, out, err

    @contextmanager
    def working(
        self, name: str, log: Path, protocol: str = "SASL_SSL", **settings: str
    ) -> Iterator[subprocess.Popen[str]]:
        """Run `session-risk worker` while the block lasts, its log in *log*."""
        with (
            log.open("w", encoding="utf-8") as file,
            self._started(name, ["worker"], protocol, settings, file) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    def _started(
        self, name: str, command: Sequence[str], protocol: str, settings: dict[str, str], errors: Any
    ) -> subprocess.Popen[str]:
        ours = {variable: value for variable, value in os.environ.items() if not variable.startswith(PREFIX)}
        own = {env_name(setting): value for setting, value in settings.items()}
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *command],
            env={**ours, "PYTHONPATH": str(ROOT), **self.settings(name, protocol), **own},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """Run a node in *folder* while the block lasts."""
    port = next(port for port in PORTS if not any(_answers(port + more) for more in range(3)))
    node = subprocess.Popen(
        [str(KAFKA / "run.sh"), "--secure", str(folder), str(port)],
        env={**os.environ, "KAFKA_HEAP_OPTS": "-Xmx512m"},
    )
    try:
        deadline = time.monotonic() + 90
        while not (_answers(port) and _answers(port + 2)):
            assert node.poll() is None, "Kafka did not start; what it said is above"
            assert time.monotonic() < deadline, "Kafka does not listen"
            time.sleep(0.2)
        yield SecureKafka(port, folder)
    finally:
        node.terminate()
        node.wait(30)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
