"""Importing a module of the project changes nothing: no file is made or removed, no other package is patched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

# In a process of its own: here most modules are imported already.
PROGRAM = """
import json, os, pkgutil, sys, warnings
from importlib import import_module

warnings.simplefilter("ignore")
import faust, aiokafka, mode
from pipeline.kafka import faust_internals
import aiokafka.consumer.fetcher, aiokafka.record.memory_records
import matplotlib.font_manager  # makes its own folder for its list of fonts; named by MPLCONFIGDIR below

for part in faust_internals.PARTS:
    faust_internals.find(part.path)
FOREIGN = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("aiokafka", "faust", "mode")}


def attributes():
    found = {}
    for module_name, module in FOREIGN.items():
        for name, value in vars(module).items():
            found[f"{module_name}.{name}"] = value
            if isinstance(value, type) and value.__module__ == module_name:
                found.update({f"{module_name}.{name}.{inner}": item for inner, item in vars(value).items()})
    return found


CHANGES = {
    "os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.truncate", "os.link", "os.symlink", "shutil.rmtree",
    "tempfile.mkstemp",
}
WRITES = []


def note(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event in CHANGES:
        WRITES.append(f"{event} {arguments[0]}")


before = attributes()
sys.addaudithook(note)
names = [
    found.name
    for package in ("models", "pipeline", "schemas")
    for found in pkgutil.walk_packages(import_module(package).__path__, f"{package}.")
    if not found.name.endswith("__main__")
]
for name in names:
    import_module(name)
after = attributes()
changed = sorted(name for name, value in before.items() if name not in after or after[name] is not value)
print(json.dumps({"modules": len(names), "writes": WRITES, "patched": changed}))
"""


def _import_all(home: Path) -> Any:
    environment = {
        **os.environ,
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home),
        "MPLCONFIGDIR": str(home.parent / "mpl"),
    }
    command = [sys.executable, "-B", "-c", PROGRAM]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_importing_every_module_writes_no_file_and_patches_no_other_package(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o555)

    report = _import_all(home)

    assert report["modules"] > 200
    assert report["writes"] == []
    assert report["patched"] == []
    assert list(home.iterdir()) == []
