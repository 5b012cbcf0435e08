"""Reloader of the configuration in force: the policy from its file, mode and models from orders on `model-control`.

A policy or a model that cannot be used is reported and changes nothing. The result of the orders depends only on the
newest one for each model, so a worker that reads `model-control` after compaction gets the same result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.artefacts import CARD, SHIPPED, BadModel, load, load_reference, load_roles
from models.detectors.base import Detector, NoDetector
from models.detectors.drift import Reference
from models.roles.roles import Roles
from pipeline.control.active import ActiveConfig, Challenger
from pipeline.control.drift import LiveDrift
from pipeline.control.succession import succession
from pipeline.decisions.policy import BadPolicy, Mode, Policy, read_policy
from pipeline.processing.processor import Record
from schemas.decode import decode_chunk
from schemas.decoded import Decoded
from schemas.records import ModelControlDict
from schemas.topics import MODEL_CONTROL

FileStamp = tuple[tuple[str, int, int, int, int], ...]


def file_stamp(path: Path) -> FileStamp:
    """A value that changes with the file, or any file in the folder, at *path*; empty if there is none.

    The inode shows that another file was moved there, and no program can set the time of the last status change.
    """
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [(file.name, file.stat()) for file in files]
    except OSError:
        return ()
    return tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_ctime_ns) for name, stat in stats)


class WatchedPath:
    """A file or folder that is checked for changes again and again; its first state is known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._last = file_stamp(path)

    def has_changed(self) -> bool:
        """Whether it differs from the known state and has not changed since the last check; then that state is known.

        A file that is copied in place is incomplete at first, and each part of it may be valid in itself.
        """
        before, self._last = self._last, file_stamp(self._path)
        if self._last == self._known or self._last != before:
            return False
        self._known = self._last
        return True

    def differs(self) -> bool:
        """Whether it differs from the known state, even if it is only half written."""
        return file_stamp(self._path) != self._known


logger = logging.getLogger(__name__)

DEFAULT_MODEL: Final = "default"

_FOREVER: Final = 2**62
Model = tuple[Detector, Roles | None]
"""A model: its detector, and its roles, if it has any."""


@dataclass(frozen=True, slots=True)
class Models:
    """A folder with a model in each sub-folder."""

    folder: Path = SHIPPED

    def load(self, name: str) -> Detector:
        """Return the detector of the model called *name*; raises `BadModel` if it cannot be used.

        If no default model is shipped, a detector that finds nothing unusual takes its place.
        """
        if name == DEFAULT_MODEL and self.folder == SHIPPED and not (SHIPPED / name).exists():
            return NoDetector()
        return load(self.path(name))

    def names(self) -> list[str]:
        """Return the names of all sub-folders but hidden ones, in order; not each need have a usable model."""
        try:
            return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and path.name[0] != ".")
        except FileNotFoundError:
            return []

    def path(self, name: str) -> Path:
        """The folder of the model called *name*; raises `BadModel` if *name* is not the name of a folder."""
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise BadModel(f"{name!r} is no name of a model: it is a folder in {self.folder}")
        return self.folder / name

    def read(self, name: str) -> Model:
        """Return the model called *name*; raises `BadModel` if it cannot be used."""
        return self.load(name), self.roles(name)

    def reference(self, name: str) -> Reference | None:
        """Return what the model called *name* was trained on, if its folder has that; raises `BadModel`."""
        folder = self.folder / name
        return load_reference(folder) if (folder / CARD).is_file() else None

    def roles(self, name: str) -> Roles | None:
        """Return the roles of the model called *name*, if it has any; raises `BadModel` if they cannot be used."""
        return load_roles(self.folder / name) if (self.folder / name).exists() else None


@dataclass(frozen=True, slots=True)
class InitialConfig:
    """What is in force before any order; without *policy_file* the default policy, without *mode* the policy's."""

    policy_file: Path | None = None
    model: str = DEFAULT_MODEL
    mode: Mode | None = None
    models: Models = Models()


class ConfigReloader:
    """Updates *active* as files and orders change; raises `BadPolicy` or `BadModel` if it cannot begin."""

    def __init__(self, initial: InitialConfig, report: Callable[[str], None] = logger.error) -> None:
        self.active = ActiveConfig()
        self.challengers: dict[str, Challenger] = {}
        self.refused: set[str] = set()
        self.policy_refused = False
        """Whether the policy file cannot be used, so that an older policy is in force."""
        self._initial = initial
        self._report = report
        self._orders: dict[str, ModelControlDict] = {}
        self._champion = initial.model
        self._files: dict[str, WatchedPath] = {}
        self._policy_file = None if initial.policy_file is None else WatchedPath(initial.policy_file)
        self._policy = read_policy(initial.policy_file)
        self.active.use_model(*self._read(initial.model))
        self.active.drift = self._drift_of(initial.model)
        self._apply_mode()

    @property
    def champion(self) -> str | None:
        """The id of the model that decides, `None` if rules decide alone."""
        model_id = self.active.detector.id
        return None if model_id == NoDetector.id else model_id

    @property
    def policy(self) -> Policy:
        """The policy in force, with the mode in force."""
        return self.active.engine.policy

    def check(self) -> None:
        """Read the policy file again if it changed, and every model that could not be used if its files changed.

        A file that cannot be used is reported once; what is in force stays in force.
        """
        if self._policy_file is not None and self._policy_file.has_changed():
            self._read_policy()
        watched = sorted(self.refused & self._files.keys())
        if changed := {name for name in watched if self._files[name].has_changed()}:
            self._apply_orders(changed)

    def _read_policy(self) -> None:
        try:
            self._policy = read_policy(self._initial.policy_file)
        except BadPolicy as error:
            self.policy_refused = True
            self._report(f"the policy stays {self.policy.id}: {error}")
            return
        self.policy_refused = False
        self._apply_mode()
        logger.info("the policy is %s now, mode %s", self.policy.id, self.policy.mode)

    def on_control_record(self, record: Record) -> None:
        """Apply an order from `model-control`; it is newer than all before it."""
        decoded: Decoded[ModelControlDict] = decode_chunk(MODEL_CONTROL, [record.value], [record.key], now_ms=_FOREVER)
        for rejected in decoded.rejected:
            self._report(f"{MODEL_CONTROL}, offset {record.offset}: no order: {rejected.reason}")
        for order in decoded.events:
            name = order["model"]
            self._orders.pop(name, None)  # the newest is last
            self._orders[name] = order
            watched = self._files.get(name)
            self._apply_orders({name} if watched and watched.differs() else set())

    def _apply_orders(self, changed: Collection[str]) -> None:
        """Set champion and challengers as the orders say; models whose files *changed* are read again.

        If such a model cannot be used, what was read of it before stays in use.
        """
        still_refused, self.refused = self.refused.difference(changed), set()
        self._choose_champion(changed)
        shadowed = [name for name, order in self._orders.items() if order["command"] == "shadow"]
        before, self.challengers = self.challengers, {}
        for name in shadowed:
            if name in before and name not in changed:
                self.challengers[name] = before[name]
            elif (model := self._load(name)) is not None:
                self.challengers[name] = Challenger(*model)
            elif name in before:
                self.challengers[name] = before[name]
        self.refused |= still_refused & {self._champion, *self.challengers}
        self.active.challengers = tuple(self.challengers.values())
        self._apply_mode()

    def _choose_champion(self, changed: Collection[str]) -> None:
        """Make the last promoted model that can be loaded the champion; else the configured one, unless retired."""
        for name in succession(self._orders, self._initial.model):
            if name == self._champion and name not in changed:
                return
            model = self._load(name)
            if model is None and name == self._champion:
                return
            if model is not None:
                self._champion = name
                self.active.use_model(*model)
                self.active.drift = self._drift_of(name)
                logger.info("the champion is %s now", self.active.detector.id)
                return
        self._champion, self.active.drift = "", None
        self.active.use_model(NoDetector(), None)
        logger.info("there is no champion: rules decide alone")

    def _load(self, name: str) -> Model | None:
        try:
            return self._read(name)
        except BadModel as error:
            self.refused.add(name)
            self._report(f"model {name} cannot be used: {error}")
            return None

    def _read(self, name: str) -> Model:
        """The model called *name*, all of it as it was at one time; raises `BadModel`."""
        models = self._initial.models
        watched = self._files[name] = WatchedPath(models.path(name))
        model = models.read(name)
        if watched.differs():
            raise BadModel(f"{models.path(name)}: changed while it was read; it is read again as it stays")
        return model

    def _drift_of(self, name: str) -> LiveDrift | None:
        """The drift from what model *name* was trained on; `None` if that is not known."""
        try:
            reference = self._initial.models.reference(name)
        except BadModel as error:
            self._report(f"drift of model {name} is not known: {error}")
            return None
        return None if reference is None else LiveDrift(reference)

    def _apply_mode(self) -> None:
        """Put the policy in force, in the mode of the newest order that sets one, or of the settings or the policy."""
        setting_mode = [order for order in self._orders.values() if order["command"] == "mode" or order["mode"]]
        ordered_mode = setting_mode[-1]["mode"] if setting_mode else None
        mode = ordered_mode or self._initial.mode or self._policy.mode
        policy = self._policy if mode == self._policy.mode else self._policy.model_copy(update={"mode": mode})
        if policy != self.active.engine.policy:
            self.active.use_policy(policy)
