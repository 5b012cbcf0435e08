"""`session-risk pseudonym`: the pseudonyms of a name, for those who may read the keys."""

from __future__ import annotations

from typing import cast, get_args

import click

from pipeline.console import as_json, grid, print_json, screen
from pipeline.processing.pseudonyms import read_keys
from pipeline.settings.loading import env_name, load
from schemas.fields import DEFAULT_TENANT
from schemas.naming import Naming


@click.command("pseudonym", short_help="Show the pseudonym of a principal, device, address or analyst.")
@click.argument("name")
@click.option(
    "--of",
    "naming",
    type=click.Choice(get_args(Naming)),
    default="principal_id",
    show_default=True,
    help="What NAME is: the field of an event, or the owner of a suppression.",
)
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="Tenant of the name.")
@as_json
def command(*, name: str, naming: str, tenant: str, as_json: bool) -> None:
    """Show the pseudonyms that replace NAME in outputs, now and in the past, to search for it.

    There is one for each key in SESSION_RISK_PSEUDONYM_KEY_FILE, the key in use first. Whoever may read that file can
    compute the pseudonym of a known name; a name can be found from a pseudonym only by trying names.
    """
    path = load().pseudonym_key_file
    if path is None:
        raise click.UsageError(f"names are not replaced: {env_name('pseudonym_key_file')} is not set")
    found = read_keys(path).of_each_key(cast("Naming", naming), tenant, name)
    records = [
        {"key": key, "in_use": not number, "pseudonym": pseudonym}
        for number, (key, pseudonym) in enumerate(found.items())
    ]
    if as_json:
        print_json(records)
        return
    rows = [(fields["key"], "in use" if fields["in_use"] else "earlier", fields["pseudonym"]) for fields in records]
    screen().print(grid("key", "", "pseudonym", rows=rows))
