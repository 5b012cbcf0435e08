"""A PostgreSQL of the tests' own: made and started in a folder of its own, on a socket that only we reach."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

USER = "transmitter"
PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


class Postgres:
    """A running server; *process* may be killed."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self._folder = folder
        self._names = (f"store_{number}" for number in count(1))
        self.process = process

    def database(self) -> str:
        """Make an empty database and return its address, as SQLAlchemy writes it."""
        name = next(self._names)
        with self.connect("postgres") as conn:
            conn.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql+psycopg://{USER}@/{name}?host={self._folder}"

    def connect(self, name: str) -> psycopg.Connection[Any]:
        """Connect to the database *name*; every statement is a transaction."""
        return psycopg.connect(host=str(self._folder), user=USER, dbname=name, autocommit=True)


@contextmanager
def postgres(**settings: str) -> Iterator[Postgres]:
    """Run a server while the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="session-risk-pg-"))
    subject = _subject_name()
    if subject:
        shutil.chown(folder, subject["user"])
    try:
        data = str(folder / "data")
        made = [
            "--pgdata",
            data,
            "--username",
            USER,
            "--auth",
            "trust",
            "--locale",
            "C",
            "--encoding",
            "UTF8",
        ]
        subprocess.run(
            [_tool("initdb"), *made, "--no-sync"],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            **subject,
        )
        by_key = {"listen_addresses": "", "unix_socket_directories": str(folder), "shared_buffers": "16MB"}
        given = [f"--{name}={value}" for name, value in (by_key | settings).items()]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*_ends_with_us(), _tool("postgres"), "-D", data, *given],
                cwd=folder,
                stderr=log,
                start_new_session=True,
                **subject,
            )
        server = Postgres(folder, process)
        try:
            _wait(server, folder)
            yield server
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(folder)


def _wait(server: Postgres, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            server.connect("postgres").close()
        except psycopg.OperationalError:
            text = (folder / "log").read_text(errors="replace")
            assert server.process.poll() is None, f"PostgreSQL did not start:\n{text}"
            assert time.monotonic() < deadline, f"PostgreSQL does not answer:\n{text}"
            time.sleep(0.05)
        else:
            return


def _subject_name() -> dict[str, Any]:
    """Whom it runs as: it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": entry.pw_name, "group": entry.pw_gid, "extra_groups": []}


def _ends_with_us() -> list[str]:
    """A prefix that ends a program when the tests are killed and can end nothing any more (Linux only)."""
    found = shutil.which("setpriv")
    return [found, "--pdeathsig", "INT"] if found else []


def _tool(name: str) -> str:
    """Find a program of PostgreSQL, where Debian keeps it or on the PATH."""
    found = shutil.which(name, path=os.pathsep.join([*map(str, PLACES), os.environ.get("PATH", "")]))
    assert found, f"{name} is not here: install PostgreSQL (apt-get install postgresql), or -m 'not postgres'"
    return found
