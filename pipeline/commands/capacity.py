"""`session-risk capacity`: what a given load takes, computed from measured figures."""

from __future__ import annotations

import click

from pipeline.console import as_json, grid, print_json, screen
from pipeline.offline.capacity.plan import Demand, Plan, plan
from pipeline.offline.capacity.skew import Skew
from pipeline.offline.docs.capacity_page import amounts

SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command("capacity", short_help="Tell what a given load takes.")
@click.option("--events", type=click.FloatRange(1), required=True, help="Events a second that producers send.")
@click.option("--sessions", type=click.IntRange(1), required=True, help="Live sessions at once.")
@click.option("--replication", type=click.IntRange(1, 9), default=3, show_default=True, help="Copies of every topic.")
@click.option(
    "--used",
    type=SHARE,
    default=0.6,
    show_default=True,
    help="Share of time, memory and network to plan with.",
)
@click.option(
    "--memory-gib",
    type=click.FloatRange(0.1),
    default=4.0,
    show_default=True,
    help="Memory of a worker, GiB.",
)
@click.option(
    "--broker-mb",
    type=click.FloatRange(1),
    default=1_250.0,
    show_default=True,
    help="What a broker's network moves each way, MB a second.",
)
@click.option(
    "--tenant", type=SHARE, default=0.3, show_default=True, help="Share of the traffic of the largest tenant."
)
@click.option(
    "--zipf",
    type=click.FloatRange(0, 2),
    default=0.8,
    show_default=True,
    help="How uneven sessions are: the n-th busiest does 1/n^ZIPF of what the first does.",
)
@as_json
def command(
    *,
    events: float,
    sessions: int,
    replication: int,
    used: float,
    memory_gib: float,
    broker_mb: float,
    tenant: float,
    zipf: float,
    as_json: bool,
) -> None:
    """Tell how many partitions, workers and brokers a load takes, how much memory, network and disk.

    Computed from the figures in deploy/CAPACITY.md, which were measured on one machine: measure on yours
    before you buy. Says what runs out first, and what to do then. The exit code is 1 where it does not fit.
    """
    skew = Skew(tenant_traffic=tenant, exponent=zipf)
    answer = plan(Demand(events, sessions, replication, used, memory_gib, broker_mb, skew))
    if as_json:
        print_json(answer.as_json())
    else:
        _show(answer)
    if not answer.fits:
        click.get_current_context().exit(1)


def _show(answer: Plan) -> None:
    console = screen()
    console.print(grid("", "", rows=amounts(answer)))
    console.print("\nwhat runs out first", style="bold")
    rows = [(use.resource, f"{use.share:.0%}", use.remedy) for use in answer.uses]
    console.print(grid("resource", ">used", "when it is too much", rows=rows))
