"""Golden replay: fixed recordings, what the processors decide about them, and the digests of every output file.

Run as a program it replaces the digests: python -m tests.support.golden_replay tests/data/golden/digests.json. Do that
only together with a change that is meant to alter decisions, and say in its message which and why.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from click.testing import CliRunner

from pipeline.cli import main
from pipeline.decisions.policy import read_policy
from pipeline.offline.replay.recording import write
from pipeline.offline.scenarios.playback import in_order, stories
from pipeline.offline.scenarios.scenario import find_directory

CLOUDTRAIL: Final = Path(__file__).parent.parent / "data" / "cloudtrail"
END_MS: Final = 1_772_442_000_000
"""When the last scenario ends: Monday, 2 March 2026, 09:00 UTC."""
DAY: Final = ("--hours", "24", "--principals", "30", "--seed", "11", "--attack-share", "0.3")
"""A simulated day, small enough for a test and with attacks enough to reach every kind of output."""

POLICY: Final = b"default@POLICY"
"""In place of the policy's id, a digest of the policy that also covers the names of its keys."""

Digests = dict[str, dict[str, str]]
"""By recording and file: the SHA-256 of its bytes and its number of lines, as text."""


def digests(folder: Path) -> Digests:
    """Make every recording below *folder*, replay it, and return the digests of what the replay wrote."""
    _run("simulate", "--out", str(folder / "day"), *DAY)
    sources = (str(CLOUDTRAIL / "invictus"), str(CLOUDTRAIL / "stratus"))
    _run("convert", "cloudtrail", *sources, "--out", str(folder / "cloudtrail"))
    _scenarios(folder / "scenarios")
    found: Digests = {}
    for recording in ("day", "cloudtrail", "scenarios"):
        out = folder / f"{recording}-decisions"
        _run("replay", str(folder / recording), "--out", str(out), "--partitions", "2")
        found[recording] = dict(_of_files(out))
    return found


def _run(*arguments: str) -> None:
    """Run one command of the command line; raises `AssertionError` with what it printed if it fails."""
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, f"session-risk {' '.join(arguments)}\n{result.output}"


def _scenarios(out: Path) -> None:
    """Write the events of all scenarios, in the order of time, as one recording into *out*."""
    events = [event for story in stories(find_directory(), END_MS) for event in story.events]
    with write(out) as writer:
        for topic, event in in_order(events):
            writer.event(topic, event)


def _of_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name of each file in *folder* with its digest and its number of lines."""
    for path in sorted(folder.iterdir()):
        data = path.read_bytes().replace(read_policy(None).id.encode(), POLICY)
        yield path.name, f"{sha256(data).hexdigest()} {len(data.splitlines())}"


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        Path(sys.argv[1]).write_text(json.dumps(digests(Path(temporary)), indent=2) + "\n")
