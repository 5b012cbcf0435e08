"""A table of more than 64 detections: a mask has two words, and sessions are decided about as before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parent.parent.parent
ADDED: Final = 20

PROGRAM: Final = """
import importlib.abc, importlib.machinery, sys
from pathlib import Path

NEVER = '''
_NEVER = tuple(
    replace(DEVICE[0], id=f"never_{number}", holds=lambda x, _: np.zeros(len(x["kind"]), np.bool_), prefilter=())
    for number in range({added})
)
'''


class Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):
        text = Path(self.path).read_text(encoding="utf-8")
        table = "DETECTIONS: Final[tuple[Detection, ...]] = (\\n"
        assert text.count(table) == 1
        imports = "from dataclasses import replace\\nimport numpy as np\\n"
        text = text.replace(table, imports + NEVER + table + "    *_NEVER,\\n")
        return compile(text, self.path, "exec")


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "pipeline.detections":
            return None
        file = next(str(Path(folder, "detections", "__init__.py")) for folder in path)
        spec = importlib.machinery.ModuleSpec(name, Loader(name, file), origin=file, is_package=True)
        spec.submodule_search_locations = [str(Path(file).parent)]
        return spec


if {added}:
    sys.meta_path.insert(0, Finder())
"""
RUN: Final = """
import json
from pipeline.detections import BIT, MASK_WORDS
from schemas import topics
from tests.support.run_processors import Desk
from tests.support.samples import T0, auth, call, context

desk = Desk()
report = context(2, device_id="phone-1", heard_at=T0 + 2_000, rooted=True)
desk.each(auth(0, device_id="phone-1"), call(1, device_id="phone-1"), report)
successor = desk.restarted()
successor.each(call(3, device_id="phone-1"), auth(4, action="sign_out"))
held = [[name for name, bit in BIT.items() if int(word >> bit % 64) & 1 and bit // 64 == place]
        for place, word in enumerate(successor.scorer.table.rows["mask"][0].tolist())]
fields = ("level", "action", "score")
print(json.dumps({
    "words": MASK_WORDS,
    "bit": BIT["device_rooted"],
    "last": max(BIT.values()),
    "held": sum(held, []),
    "after": len(successor.output(topics.SESSION_REVOCATIONS)),
    "risk": [[event[name] for name in fields] for event in desk.output(topics.SESSION_RISK)],
    "revocations": [event["detections"] for event in desk.output(topics.SESSION_REVOCATIONS)],
}))
"""


def run_with(added: int) -> dict[str, Any]:
    """Run the story in a process of its own, with *added* detections before all others."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = PROGRAM.replace("{added}", str(added)) + RUN
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=environment,
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.slow
def test_with_more_than_64_detections_the_same_session_is_revoked_for_the_same_reason() -> None:
    usual, many = run_with(0), run_with(ADDED)

    assert (usual["words"], many["words"], many["last"]) == (1, 2, usual["last"] + ADDED)
    assert (usual["after"], many["after"]) == (0, 0)
    assert many["held"] == usual["held"] != []
    assert many["risk"] == usual["risk"] != []
    assert many["revocations"] == usual["revocations"] == [["device_rooted"]]
