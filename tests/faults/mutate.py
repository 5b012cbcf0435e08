"""Puts each bug of `mutations.py` into a copy of the product, and says which of them no test notices.

    deploy/kafka/with.sh 9192 .venv/bin/python -m tests.faults.mutate [PATTERN]

PATTERN: of promises or bugs. It takes about half a minute for each, and ends with 1 if one survives. A test
that does not end in time counts as red.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT
from tempfile import TemporaryDirectory
from time import monotonic

from tests.faults.mutation import Mutation
from tests.faults.mutations import PROMISES

ROOT = Path(__file__).parent.parent.parent
LONGEST_SECONDS = 240
END_SECONDS = 30


def copied(folder: Path) -> Path:
    """Copy what is under version control, with the broker's jars, into *folder*; return where."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    jars = ROOT / "deploy" / "kafka" / "lib"
    if jars.is_dir():
        (folder / "deploy" / "kafka" / "lib").symlink_to(jars)
    return folder


@contextmanager
def put_in(mutation: Mutation, copy: Path) -> Iterator[None]:
    """Have the bug in *copy* while the block lasts."""
    path = copy / mutation.file
    right = path.read_text(encoding="utf-8")
    path.write_text(right.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(right, encoding="utf-8")


def tried(mutation: Mutation, copy: Path) -> str:
    """Return what the test says of the bug: nothing if it is green."""
    wanted = ["-k", mutation.of] if mutation.of else []
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutation.test, *wanted]
    environment = {**os.environ, "PYTHONPATH": str(copy), "SEEDS": "1"}
    with subprocess.Popen(command, cwd=copy, env=environment, stdout=PIPE, stderr=STDOUT, text=True) as test:
        try:
            text, _ = test.communicate(timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            test.send_signal(signal.SIGINT)  # it ends the workers it started
            test.communicate(timeout=END_SECONDS)
            return f"it did not end within {LONGEST_SECONDS} s"
    if test.returncode == 0:
        return ""
    if test.returncode != 1:
        raise SystemExit(f"{' '.join(command)} could not be run:\n{text[-3000:]}")
    found = re.findall(r"^E +(.*\S)", text, re.MULTILINE)
    return " | ".join(found[:3]) or "it ended with a failure"


def main(pattern: str) -> int:
    """Try all bugs whose promise or description *pattern* is found in; return the exit code."""
    survived = 0
    with TemporaryDirectory() as folder:
        copy = copied(Path(folder))
        for promise, mutations in PROMISES.items():
            print(f"\n{promise}", flush=True)
            for mutation in mutations:
                if not re.search(pattern, f"{promise}: {mutation.bug}"):
                    continue
                began = monotonic()
                with put_in(mutation, copy):
                    text = tried(mutation, copy)
                survived += not text
                print(f"  {'red' if text else 'SURVIVES'}  {mutation.bug} ({monotonic() - began:.0f} s)")
                print(f"       {mutation.test} {mutation.of}\n       {text}", flush=True)
    print(f"\n{survived} survived" if survived else "\nnone survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
