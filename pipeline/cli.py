"""Command line `session-risk`: the table of commands, and the exit codes of expected errors.

A command's module in `pipeline/commands/` is imported only when the command is used, so `session-risk --help` is fast.
"""

from __future__ import annotations

import logging
import sys
from collections import UserDict
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NamedTuple, cast

import click


class Entry(NamedTuple):
    """A command of the help: its sentence, and where it is if not in the module of its name: `module.command`."""

    text: str
    target: str = ""


COMMANDS: Final = {
    "demo": Entry("Watch attacks detected and sessions revoked, without Kafka."),
    "worker": Entry("Join the events in Kafka and decide, until stopped."),
    "transmitter": Entry("Send decisions to identity providers by Shared Signals."),
    "replay": Entry("Run a recording through a worker's processors, without Kafka."),
    "explain": Entry("Show how a decision came about and what was done."),
    "diff": Entry("Show what two replays decide differently, and why."),
    "revocations": Entry("Show the state of revocations: delivered, confirmed, overdue."),
    "feedback": Entry("Give a verdict on a decision or a session."),
    "simulate": Entry("Write a labelled recording of simulated days."),
    "convert": Entry("Convert logs of other systems into a recording."),
    "export": Entry("Write scored vectors and their labels to Parquet."),
    "train": Entry("Fit the anomaly model on a recording or an export."),
    "evaluate": Entry("Measure how well a model finds known attacks."),
    "compare": Entry("Show what another model would have changed."),
    "drift": Entry("Show how far traffic has moved from a model's training data."),
    "model": Entry("Choose which model decides, and in which mode."),
    "promote": Entry("Let a model decide.", "model.promote"),
    "shadow": Entry("Have workers load a model as a challenger.", "model.shadow"),
    "rollback": Entry("Let the previous model decide again.", "model.rollback"),
    "policy": Entry("Show or check a policy."),
    "detections": Entry("List the detections, or describe one."),
    "topics": Entry("Create, list or check the topics; grant rights on them."),
    "schemas": Entry("Write the wire format as JSON Schema and AsyncAPI."),
    "pseudonym": Entry("Show the pseudonym of a principal, device, address or analyst."),
    "settings": Entry("Show every setting and its value."),
}
"""Every command, in the order of the help, with its sentence."""

OK: Final = 0
NO: Final = 1
WRONG_INPUT: Final = 2
NO_BROKER: Final = 3
INTERRUPTED: Final = 130

EXIT_CODES: Final = {
    "builtins.OSError": WRONG_INPUT,
    "models.model_card.BadModel": WRONG_INPUT,
    "pipeline.kafka.acls.RightsUnknownError": NO_BROKER,
    "pipeline.sources.UnreadableLogError": WRONG_INPUT,
    "pipeline.commands.model.NothingPromotedError": NO,
    "pipeline.commands.model.PromotionRefusedError": NO,
    "pipeline.offline.scenarios.demo.DemoError": NO,
    "pipeline.kafka.faust_internals.UnknownFaustError": WRONG_INPUT,
    "pipeline.decisions.policy.BadPolicy": WRONG_INPUT,
    "pipeline.processing.pseudonyms.BadKeysError": WRONG_INPUT,
    "pipeline.offline.replay.decision_log.UnknownDecisionError": NO,
    "pipeline.offline.replay.recording.RecordingError": WRONG_INPUT,
    "pipeline.offline.scenarios.scenario.ScenarioError": WRONG_INPUT,
    "pipeline.processing.failpoints.FailpointError": WRONG_INPUT,
    "pipeline.settings.loading.SettingsError": WRONG_INPUT,
    "pipeline.kafka.topics.BrokerUnreachableError": NO_BROKER,
    "pipeline.kafka.topics.RightsMissingError": NO_BROKER,
    "pipeline.kafka.topics.TopicsNotReadyError": NO_BROKER,
    "pipeline.transmitter.static_streams.BadStreamsError": WRONG_INPUT,
    "pipeline.transmitter.operator_commands.NotFoundError": NO,
    "pipeline.transmitter.sample_events.NoSampleError": NO,
    "pipeline.transmitter.store.receivers.BadReceiverError": WRONG_INPUT,
    "pipeline.transmitter.store.encryption.SealError": WRONG_INPUT,
    "pipeline.transmitter.store.signing_keys.WeakKeyError": WRONG_INPUT,
    "pipeline.transmitter.store.database.StoreError": NO_BROKER,
    "pipeline.transmitter.tokens.subjects.SubjectsError": WRONG_INPUT,
}
"""Exit codes of expected errors, which are reported in one sentence. Any other exception is a bug.

They are listed by name, so that their modules need not be imported.
"""


class _Commands(UserDict[str, click.Command]):
    """The commands by name; each is imported when it is first used."""

    def __init__(self) -> None:
        super().__init__()
        self.data = {name: click.Command(name, short_help=entry.text) for name, entry in COMMANDS.items()}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self.data:
            raise KeyError(name)
        module, _, attribute = (COMMANDS[name].target or name).partition(".")
        loaded = import_module(f"pipeline.commands.{module}")
        return cast("click.Command", getattr(loaded, attribute or "command"))


class Program(click.Group):
    """The group of all commands, which also sets the exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.text) for name, entry in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT002 - click's signature
        **extra: Any,
    ) -> Any:
        """Run the command line and exit; without *standalone_mode*, return the result or raise the error."""

        def run() -> Any:
            return super(Program, self).main(args, prog_name, complete_var, standalone_mode=False, **extra)

        if standalone_mode:
            sys.exit(_exit_code_of(run))
        return run()


def _exit_code_of(run: Callable[[], Any]) -> int:
    try:
        code = run()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except Exception as error:
        expected = exit_code(error)
        if expected is None:
            raise
        click.echo(f"session-risk: {message_of(error)}", err=True)
        return expected
    return code if isinstance(code, int) else OK


def exit_code(error: Exception) -> int | None:
    """Return the exit code of *error*, None if it is not an expected error."""
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)
    return next((EXIT_CODES[name] for name in names if name in EXIT_CODES), None)


def message_of(error: Exception) -> str:
    """Return the message that describes *error*."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error)


def _version() -> str:
    try:
        return version("session-risk")
    except PackageNotFoundError:
        return "unknown (not installed)"


@click.group(cls=Program, commands=_Commands())
@click.version_option(_version(), prog_name="session-risk")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Decide continuously whether a session still deserves trust.

    Settings come from the environment (`session-risk settings` shows them). Exit codes: 0 success, 1 the result is
    negative, 2 wrong input or settings, 3 no broker, no store, wrong topics or missing rights, 130 interrupted.
    """
    # If a broker does not respond, the command reports it once; the client would log it repeatedly.
    client = logging.getLogger("aiokafka")
    ctx.call_on_close(partial(client.setLevel, client.level))
    client.setLevel(logging.CRITICAL)


if __name__ == "__main__":
    main()
