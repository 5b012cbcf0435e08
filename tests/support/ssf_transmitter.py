"""A transmitter to be tested from the outside: its own process, its own store, TLS on loopback, no Kafka.

Only this file and `ssf_process` know what the transmitter is made of; tests speak HTTP, or use the command
line.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import SystemRandom
from typing import IO, Any, Final

from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.cli import main
from tests.support.ssf_http import Wire
from tests.support.ssf_receiver import Json, Receiver
from tests.support.ssf_records import Record
from tests.support.waiting import until

HERE: Final = Path(__file__).parent.parent
_NEVER_GIVEN: Final = range(15_000, 32_000)
"""Systems choose ports for connections out above these (Linux: ip_local_port_range)."""
IDP: Final = "https://idp.example.com"
SUBJECTS: Final = f"""
[[principals]]
id = "ana"
iss = "{IDP}"
sub = "00u-ana"
email = "ana@example.com"

[[principals]]
iss = "{IDP}"
sub = "{{principal}}"
email = "{{principal}}@example.com"
"""
USUAL: Final[dict[str, Any]] = {
    "allow_insecure": True,
    "min_verification_s": 0,
    "requests_per_minute": 100_000,
    "long_poll_s": 5,
    "max_streams": 100,
}


@dataclass(frozen=True, slots=True)
class Done:
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


class Rig:
    """One transmitter, its settings, and what its operator does."""

    idp = IDP
    program: tuple[str, ...] = (str(HERE / "support" / "ssf_process.py"),)

    def __init__(self, folder: Path, path: str, files: dict[str, str], settings: dict[str, Any]) -> None:
        self.folder = folder
        port, metrics_port = _free_ports(2)
        self.issuer = f"https://localhost:{port}{path}"
        self.wire = Wire(_trust(folder))
        self._metrics = f"http://127.0.0.1:{metrics_port}/metrics"
        own = {
            "issuer": self.issuer,
            "port": port,
            "metrics_port": metrics_port,
            "database": f"sqlite:///{folder}/store.db",
            "tls_cert_file": folder / "cert.pem",
            "tls_key_file": folder / "key.pem",
            **USUAL,
            **settings,
        }
        for name, text in {"subjects": SUBJECTS, **files}.items():
            (folder / f"{name}.toml").write_text(text, "utf-8")
            own[f"{name}_file"] = folder / f"{name}.toml"
        log_level = own.pop("log_level", "INFO")
        self.environment = {
            **{f"SESSION_RISK_TRANSMITTER_{name.upper()}": _text(value) for name, value in own.items()},
            "SESSION_RISK_LOG_LEVEL": str(log_level),
        }
        self._receivers: dict[str, Receiver] = {}
        self._process: subprocess.Popen[str] | None = None

    # --- The process ---

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.program],
                cwd=HERE.parent,
                env={**os.environ, "PYTHONPATH": str(HERE.parent), **self.environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        until("the transmitter to answer", self._answers, lambda seen: seen == 200)

    def _answers(self) -> int | str:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        try:
            return self.wire.call("GET", f"{self.issuer.rstrip('/')}/health").status
        except OSError as error:
            return str(error)

    def stop(self) -> None:
        """Have it end in its own time."""
        if self._process is not None:
            self._process.terminate()
            assert self._ended() == 0, self.log()

    def kill(self) -> None:
        """End it in the midst of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._ended()

    def _ended(self) -> int:
        assert self._process is not None
        process, self._process = self._process, None
        code = process.wait(60)
        for pipe in (process.stdin, process.stdout):
            _close(pipe)
        return code

    def say(self, *records: Record) -> None:
        """Have it read *records*; they are in every queue when this returns."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pairs = [(topic, message.model_dump(exclude_none=True)) for topic, message in records]
        self._process.stdin.write(json.dumps(pairs) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "committed\n", self.log()

    # --- What its operator does ---

    def command(self, *words: str, **environment: str) -> Done:
        """`session-risk transmitter` with *words*."""
        given = {**self.environment, **environment}
        done = CliRunner().invoke(main, ["transmitter", *words], env=given)
        return Done(done.exit_code, done.stdout, done.stderr)

    def operate(self, *words: str) -> str:
        """`session-risk` with *words*, which must go well; returns what it says."""
        done = CliRunner().invoke(main, words, env=self.environment)
        assert done.exit_code == 0, done.output
        return done.stdout

    def receiver(
        self, name: str, scope: str = "ssf.manage ssf.read", aud: str | None = None, tenant: str = ""
    ) -> Receiver:
        """The receiver of this name, let in by the operator; with *tenant*, to hear of that one only."""
        if name not in self._receivers:
            aud = aud or f"https://{name}.example.com/ssf"
            only = ("--tenant", tenant) if tenant else ()
            done = self.command("clients", "add", name, "--aud", aud, "--json", *only)
            assert done.returncode == 0, done
            secret = json.loads(done.stdout)["client_secret"]
            self._receivers[name] = Receiver(self.wire, self.issuer, name, secret, aud, scope)
        return self._receivers[name]

    def dead_letters(self) -> list[Json]:
        """What was given up."""
        done = self.command("dead-letters", "list", "--most", "10000", "--json")
        assert done.returncode == 0, done
        found: list[Json] = json.loads(done.stdout)
        return found

    # --- What is seen of it ---

    def log(self) -> str:
        """All that it has logged."""
        return (self.folder / "log.txt").read_text("utf-8")

    def files(self) -> list[Path]:
        """Its store and everything beside it."""
        return [path for path in self.folder.iterdir() if path.name.startswith("store.db")]

    def metrics(self) -> str:
        """What it shows to Prometheus."""
        return self.wire.call("GET", self._metrics).body.decode()

    def measured(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric that have *labels*."""
        found = re.findall(rf"^session_risk_transmitter_{name}(\{{.*\}})? (\S+)$", self.metrics(), re.MULTILINE)
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(value) for details, value in found if all(this_name in details for this_name in wanted))


@contextmanager
def transmitter(folder: Path, path: str = "", files: dict[str, str] | None = None, **settings: Any) -> Iterator[Rig]:
    """A transmitter with these settings, its issuer with *path*; *files* by setting, without `_file`."""
    rig = Rig(folder, path, files or {}, settings)
    try:
        rig.start()
        yield rig
    except BaseException:
        rig.kill()
        raise
    rig.stop()


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        try:
            pipe.close()
        except BrokenPipeError:
            return


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has, and that no connection out gets while a transmitter that had one is down."""
    found: list[int] = []
    for port in SystemRandom().sample(_NEVER_GIVEN, 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"{count} ports of {_NEVER_GIVEN} are not to be had")


def _trust(folder: Path) -> ssl.SSLContext:
    """Make a certificate for localhost, and return what vouches for it: itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return ssl.create_default_context(cadata=pem.decode())
