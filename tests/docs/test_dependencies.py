"""What is installed is what is pinned and fits together; an audit that looked nothing up is no all-clear."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PINS = [
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
AUDIT = ROOT / "deploy" / "audit.sh"


def test_every_line_pins_one_exact_version() -> None:
    assert [pin for pin in PINS if len(pin) != 2 or not pin[1] or set(pin[1]) & set("*<>~!=,; ")] == []
    assert len({name.lower().replace("_", "-") for name, _ in PINS}) == len(PINS)


@pytest.mark.parametrize(("name", "pinned"), PINS, ids=[name for name, _ in PINS])
def test_what_is_installed_is_what_is_pinned(name: str, pinned: str) -> None:
    try:
        installed = version(name)
    except PackageNotFoundError:
        installed = "nothing: another Python or system needs it"

    assert installed in (pinned, "nothing: another Python or system needs it")


def test_what_is_installed_fits_together() -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "No broken requirements found.\n"), done.stderr


def _audit(tmp_path: Path, answer: str) -> tuple[int, str]:
    """Run the audit where the environment it makes holds a `pip-audit` that gives this *answer*."""
    python = tmp_path / "python"
    python.write_text(
        "#!/usr/bin/env bash\n"
        'if [[ "$2" == pip ]]; then exit 0; fi\n'
        'mkdir -p "$3/bin"; printf "#!/bin/sh\\n" >"$3/bin/pip"\n'
        f"cat >\"$3/bin/pip-audit\" <<'END'\n#!/usr/bin/env bash\n{answer}\nEND\n"
        'chmod +x "$3/bin/pip" "$3/bin/pip-audit"\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    done = subprocess.run([str(AUDIT), str(python)], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


NO_ALL_CLEAR = "audit: a dependency has a known weakness, or could not be looked up: see above. This is no all-clear.\n"


def test_an_audit_is_asked_for_every_pin_and_to_fail_where_one_is_not_found(tmp_path: Path) -> None:
    words = tmp_path / "words"

    code, text = _audit(tmp_path, f'echo "$@" >{words}')

    assert (code, text) == (0, "")
    assert words.read_text(encoding="utf-8").split() == [
        "--strict",
        "--disable-pip",
        "--no-deps",
        "--progress-spinner",
        "off",
        "--vulnerability-service",
        "pypi",
        "--requirement",
        "constraints.txt",
    ]


def test_a_source_that_does_not_answer_is_no_all_clear(tmp_path: Path) -> None:
    code, text = _audit(tmp_path, "echo WARNING: unhashed >&2; echo ERROR: click: not found >&2; exit 1")

    assert (code, text) == (1, f"ERROR: click: not found\n{NO_ALL_CLEAR}")


def test_the_audit_can_be_run() -> None:
    assert os.access(AUDIT, os.X_OK)
