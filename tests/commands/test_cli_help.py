"""Help lists every command and option, each with a sentence, and loads nothing that takes time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module

import click
import pytest

from pipeline import cli
from tests.support.command_line import HERE, ROOT, invoked


def _walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for inner, found in command.commands.items():
            yield from _walk(f"{name} {inner}".strip(), found)


EVERY_COMMAND = dict(_walk("", cli.main))


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_a_command_and_each_of_its_options_has_a_help_text(name: str) -> None:
    done = invoked(*name.split(), "--help")

    assert done.exit_code == 0
    assert (EVERY_COMMAND[name].help or "").split("\n\n")[0].strip().endswith((".", "marked."))
    for parameter in EVERY_COMMAND[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_every_module_of_a_command_is_listed_with_the_sentence_it_has_itself() -> None:
    modules = {path.stem for path in (ROOT / "pipeline" / "commands").glob("*.py")} - {"__init__"}

    assert modules == {name for name, entry in cli.COMMANDS.items() if not entry.target}
    for name, entry in cli.COMMANDS.items():
        module, _, attribute = entry.target.partition(".")
        command = getattr(import_module(f"pipeline.commands.{module or name}"), attribute or "command")
        assert (command.name, command.short_help) == (name, entry.text)


def test_help_lists_every_command_in_order() -> None:
    lines = [line.split(maxsplit=1) for line in invoked("--help").stdout.partition("Commands:\n")[2].splitlines()]

    assert {words[0]: words[1] for words in lines if words} == {
        name: entry.text for name, entry in cli.COMMANDS.items()
    }
    assert [words[0] for words in lines if words] == list(cli.COMMANDS)


def test_help_loads_nothing_that_takes_time() -> None:
    code = (
        "import sys\nfrom pipeline.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'faust', 'sklearn', 'numpy', 'aiokafka', 'pydantic', 'rich'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=HERE, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "loaded []"


def test_commands_that_use_no_model_load_none_of_its_libraries() -> None:
    light = (
        *("convert", "detections", "diff", "explain", "feedback", "model", "policy"),
        *("pseudonym", "revocations", "schemas", "settings", "simulate", "topics"),
    )
    code = (
        f"import sys\nfrom importlib import import_module\nfor name in {light}:\n"
        "    import_module(f'pipeline.commands.{name}')\n"
        "print(sorted({'sklearn', 'matplotlib', 'pyarrow', 'fastapi', 'uvicorn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=HERE, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
