"""`session-risk train`: fit the anomaly model on a recording, an export, or simulated days."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from models.artefacts import SHIPPED, save
from models.detectors.methods import METHODS
from models.detectors.trained import METHOD
from models.model_card import CARD
from pipeline.commands.replay import FOLDER
from pipeline.console import as_json, print_json, tracked, working
from pipeline.offline.replay.recording import write
from pipeline.offline.simulation import simulate
from pipeline.offline.training.datasets import data_in, learned_in
from pipeline.offline.training.train import Data, Trained, train


@click.command("train", short_help="Fit the anomaly model on a recording or an export.")
@click.argument("data", required=False, type=FOLDER)
@click.option("--test", type=FOLDER, help="Recording or export to evaluate the model on.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the model.")
@click.option("--name", default="default", show_default=True, help="Name of the model.")
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed gives the same bytes.")
@click.option("--method", type=click.Choice(list(METHODS)), default=METHOD, show_default=True, help="Detection method.")
@as_json
def command(
    *,
    data: Path | None,
    test: Path | None,
    out: Path | None,
    name: str,
    seed: int,
    method: str,
    as_json: bool,
) -> None:
    """Fit the anomaly model on DATA and save it with its card.

    DATA is a recording or the output of `session-risk export`; without it two days are simulated for training, and a
    third with many attacks for evaluation. Sessions that ground truth or a verdict labels as attacked are left out; if
    there are any and --test is not given, a fifth of the honest sessions is held out, too, for evaluation. Usual
    behaviour of roles is learned from all tenants, and from each tenant of DATA that is large enough; the model
    contains no tenant names. Without --out the model is written beside the models that ship, under its name. The same
    data and seed give the same bytes.
    """
    target = out or SHIPPED / name
    learned, tested = _data(data, test, seed)
    for model, number in learned.left_out.items():
        click.echo(
            f"session-risk: {number:,} vectors are left out: {model} scored them with other roles than those of most "
            "vectors, or with roles that are not known",
            err=True,
        )
    with working(f"fitting on {len(learned.vectors):,} vectors"):
        try:
            trained = train(learned, tested, name=name, seed=seed, method=method)
        except ValueError as error:
            raise click.UsageError(f"{data or 'the simulated days'}: {error}") from error
    _save(trained, target)
    if as_json:
        print_json({"id": trained.detector.id, "out": str(target), **trained.card})
    else:
        rows = trained.card["data"]["rows"]
        click.echo(f"{trained.detector.id}, fitted on {rows:,} vectors, is in {target}")


def _data(data: Path | None, test: Path | None, seed: int) -> tuple[Data, Data | None]:
    with TemporaryDirectory() as folder:
        if data is not None:
            learned = learned_in(data, seed)
            return learned, data_in(test, roles=learned.roles) if test else None
        honest = _simulated(Path(folder) / "honest", seed, hours=48.0, attack_share=0.0)
        # Simulated tenants are not real: they say nothing about a real tenant of the same name.
        learned = learned_in(honest, seed, kind=f"48 simulated hours, seed {seed}", tenants=False)
        tested = data_in(test, roles=learned.roles) if test else None
        if tested is None:
            attacked = _simulated(Path(folder) / "attacked", seed + 1, hours=24.0, attack_share=0.3)
            text = f"24 simulated hours with attacks, seed {seed + 1}"
            tested = data_in(attacked, text, learned.roles)
        return learned, tested


def _simulated(folder: Path, seed: int, *, hours: float, attack_share: float) -> Path:
    """A recording of simulated days with the given share of attacks."""
    simulation = simulate(seed, hours, 200, world="train", attack_share=attack_share)
    with write(folder) as writer:
        for topic, event in tracked(simulation, "simulating", None):
            writer.event(topic, event)
        for row in simulation.truth:
            writer.truth(row)
    return folder


def _save(trained: Trained, target: Path) -> None:
    """Write the model to a temporary folder, then move it to *target*; the card last, as it completes the model."""
    target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        save(trained.detector, Path(folder), trained.card, trained.files)
        written = sorted(path.name for path in Path(folder).iterdir())
        for name in sorted(written, key=lambda name: name == CARD):
            (Path(folder) / name).replace(target / name)
        for path in list(target.iterdir()):
            if path.suffix in (".png", ".npz") and path.name not in written:
                path.unlink()  # of the previous model
