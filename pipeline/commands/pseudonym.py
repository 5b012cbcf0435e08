"""`session-risk pseudonym`: under which pseudonym somebody is spoken of, for those who may know."""

from __future__ import annotations

from typing import cast, get_args

import click

from pipeline.console import as_json, grid, print_json, screen
from pipeline.processing.pseudonyms import read_keys
from pipeline.settings.loading import env_name, load
from schemas.members import DEFAULT_TENANT
from schemas.naming import Naming


@click.command("pseudonym", short_help="Tell the pseudonym of a principal, device, address or analyst.")
@click.argument("name")
@click.option(
    "--of",
    "naming",
    type=click.Choice(get_args(Naming)),
    default="principal_id",
    show_default=True,
    help="What NAME is: the member of an event it stands in, or the owner of a suppression.",
)
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="Whose name it is.")
@as_json
def command(*, name: str, naming: str, tenant: str, as_json: bool) -> None:
    """Tell under which pseudonyms NAME leaves, and has left, to search for it.

    One for each key in SESSION_RISK_PSEUDONYM_KEY_FILE, the one in use first. Who may read that file can find
    a name that they know; nobody finds a name from a pseudonym but by trying names.
    """
    path = load().pseudonym_key_file
    if path is None:
        raise click.UsageError(f"names leave as they are; {env_name('pseudonym_key_file')} names no keys")
    found = read_keys(path).ever_of(cast("Naming", naming), tenant, name)
    records = [
        {"key": key, "in_use": not at, "pseudonym": this_name} for at, (key, this_name) in enumerate(found.items())
    ]
    if as_json:
        print_json(records)
        return
    rows = [(fields["key"], "in use" if fields["in_use"] else "of before", fields["pseudonym"]) for fields in records]
    screen().print(grid("key", "", "pseudonym", rows=rows))
