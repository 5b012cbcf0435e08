"""Who made the events of a lab in which Stratus Red Team was run: it names itself in its user agent.

Its detonations are the attacks; what it lets Terraform build before and take down after is an administrator's
honest work, under the same key and minutes apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

Maker = Literal["detonation", "preparation", "other"]
MAKERS: Final[tuple[Maker, ...]] = ("detonation", "preparation", "other")


def made_by(event: Mapping[str, Any]) -> Maker:
    """What made *event*; Stratus signs Terraform's calls too, which are preparation all the same."""
    client = event.get("user_agent") or ""
    if "Terraform/" in client:
        return "preparation"
    return "detonation" if "stratus-red-team_" in client else "other"
