"""Machine code lies where it can be written, is made anew when anything it came from changes, and made only once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.events.text_hashing import hash_ids
from models.jit import cache_folder, digest_of, remove_other_versions
from models.updates import fold
from pipeline.control.active import ActiveConfig
from pipeline.process_setup import GC_THRESHOLDS, tune_garbage_collection
from pipeline.worker.warmup import compile_all


def test_a_change_of_any_file_of_the_package_is_another_digest(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "one.py").write_text("A = 1\n")
    (tmp_path / "inner" / "two.py").write_text("B = 2\n")
    before = digest_of(tmp_path)
    (tmp_path / "notes.txt").write_text("not code")
    assert digest_of(tmp_path) == before

    (tmp_path / "inner" / "two.py").write_text("B = 3\n")

    assert digest_of(tmp_path) != before


def test_the_cache_is_in_the_first_parent_that_can_be_written_to(tmp_path: Path) -> None:
    nowhere, parent = tmp_path / "file" / "below", tmp_path / "cache"
    (tmp_path / "file").write_text("no folder")
    (parent / "compiled-old").mkdir(parents=True)

    folder = cache_folder((nowhere, parent, tmp_path / "never"), "new")

    assert folder == parent / "compiled-new"
    assert sorted(path.name for path in parent.iterdir()) == ["compiled-new", "compiled-old"]
    assert not (tmp_path / "never").exists()


def test_the_code_of_other_versions_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    for name in ("compiled-new", "compiled-old", "something-else"):
        (tmp_path / name).mkdir()

    remove_other_versions(tmp_path / "compiled-new")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["compiled-new", "something-else"]


def test_a_cache_that_can_only_be_read_is_copied_to_where_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, home = tmp_path / "image", tmp_path / "home"
    (image / "compiled-new").mkdir(parents=True)
    (image / "compiled-new" / "fold.nbi").write_bytes(b"machine code")
    touch = Path.touch

    def refused(self: Path, *_: Any, **__: Any) -> None:
        if image in self.parents:
            raise PermissionError(self)
        touch(self)

    monkeypatch.setattr(Path, "touch", refused)

    folder = cache_folder((image, home), "new")

    assert folder == home / "compiled-new"
    assert (folder / "fold.nbi").read_bytes() == b"machine code"


def test_where_nothing_can_be_written_there_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    assert cache_folder((tmp_path / "file" / "below",), "new") is None


FIRST_USE = """
import sys
from pathlib import Path
from models import jit
jit.CACHE_PARENTS = (Path(sys.argv[1]),)
from models.events import text_hashing
before = sorted(path.name for path in Path(sys.argv[1]).rglob("*"))
value = text_hashing.hash_ids(["s-1"]).tolist()
print(before, value, len(text_hashing._fill_short_hashes.stats.cache_hits))
"""


def test_a_first_call_without_warming_up_compiles_and_the_next_process_takes_its_code(tmp_path: Path) -> None:
    runs = [
        subprocess.run(
            [sys.executable, "-B", "-c", FIRST_USE, tmp_path], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    (folder,) = tmp_path.iterdir()
    files = sorted(path.name for path in folder.rglob("*.nb*"))

    value = [hash_ids(["s-1"]).tolist()]
    assert runs[0] == f"[] {value[0]} 0\n"
    assert runs[1].endswith(f" {value[0]} 1\n")
    assert any("_fill_short_hashes" in name for name in files)


def test_where_nothing_can_be_written_a_first_call_compiles_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    run = subprocess.run(
        [sys.executable, "-B", "-c", FIRST_USE, tmp_path / "file"], capture_output=True, text=True, check=True
    )

    assert run.stdout == f"[] {hash_ids(['s-1']).tolist()} 0\n"


def test_every_kind_of_event_is_folded_by_code_that_warming_up_has_made() -> None:
    compiled: Any = fold._fold
    compile_all(ActiveConfig())

    assert len(compiled.signatures) == 1


def test_garbage_is_searched_as_seldom_as_a_worker_needs(monkeypatch: Any) -> None:
    details: list[Any] = []
    monkeypatch.setattr("gc.freeze", lambda: details.append("freeze"))
    monkeypatch.setattr("gc.set_threshold", lambda *every: details.append(every))

    tune_garbage_collection()

    assert details == ["freeze", GC_THRESHOLDS]
