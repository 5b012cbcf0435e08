"""Small roles of three operations: two for people, one for everybody else; drawn by a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from models.events.columns import KINDS, PRINCIPAL_KIND
from models.events.text_hashing import short_fingerprint
from models.roles.cohorts import QUANTILES, Cohorts
from models.roles.roles import VOLUMES, Roles, operation_hashes
from models.state.table import ROLES

OPERATIONS = ("GET /x", "GET /z", "iam:CreateAccessKey")


def sample_roles(seed: int = 7, *tenants: str) -> Roles:
    """Roles in which everything is as likely as rng_for made it; another *seed* makes another model.

    Each of the *tenants* has cohorts of its own for about half of its roles.
    """
    random = np.random.default_rng(seed)
    operations = sorted(OPERATIONS, key=lambda number: int(operation_hashes([number])[0]))
    kinds, size = len(KINDS), len(operations)
    log_p = np.zeros((kinds, size + 2, size + 1, ROLES), np.float32)
    prior = np.full((kinds, ROLES), -np.inf)
    for kind in range(kinds):
        shares = [0.75, 0.25] if kind == PRINCIPAL_KIND["human"] else [1.0]
        prior[kind, : len(shares)] = np.log(shares)
        for role in range(len(shares)):
            log_p[kind, :, :, role] = np.log(random.dirichlet(np.ones(size + 1), size + 2))
    rare = random.uniform(1.0, 3.0, (kinds, ROLES))
    usual = random.uniform(1.0, 100.0, (kinds, ROLES + 1, len(VOLUMES), len(QUANTILES)))
    labels = np.full((kinds, ROLES), "a role")
    roles = Roles(np.array(operations), log_p, prior, rare, usual, labels)
    return replace(roles, cohorts=sample_cohorts(seed, *tenants)) if tenants else roles


def sample_cohorts(seed: int, *tenants: str) -> Cohorts:
    """Cohorts of *tenants* as rng_for made them; the kind's own always, a role's in one case of two."""
    random = np.random.default_rng(seed)
    cells = (len(tenants), len(KINDS), ROLES + 1)
    sessions = random.integers(30, 90, cells) * random.integers(0, 2, cells)
    sessions[:, 1:, ROLES] = 90
    usual = random.uniform(100.0, 1_000.0, (*cells, len(VOLUMES), len(QUANTILES)))
    usual[sessions == 0] = 0.0
    return Cohorts(np.array(sorted(map(short_fingerprint, tenants)), np.uint32), usual, sessions)


def at_tenant(roles: Roles, tenant: str, times: float) -> Roles:
    """*roles* that know *tenant*, at which *times* as much is usual of everything."""
    own = np.where(np.isfinite(roles.usual), times * roles.usual, 1e12)[None]
    sessions = np.full(own.shape[:3], 100)
    return replace(roles, cohorts=Cohorts(np.array([short_fingerprint(tenant)], np.uint32), own, sessions))


def one_role(operations: tuple[str, ...], usual: Mapping[str, float]) -> Roles:
    """A role for everybody in which each of *operations* is as likely as another, and all others never come.

    *usual* is what its calls stay below, by the name of the volume; of the rest there is no limit.
    """
    known = sorted(operations, key=lambda this_name: int(operation_hashes([this_name])[0]))
    kinds, size = len(KINDS), len(known)
    log_p = np.full((kinds, size + 2, size + 1, ROLES), -np.log(size), np.float32)
    log_p[:, :, 0] = -11.5
    prior = np.full((kinds, ROLES), -np.inf)
    prior[:, 0] = 0.0
    levels = np.array([usual.get(name, np.inf) for name in VOLUMES])
    upper = np.broadcast_to(levels[:, None], (kinds, ROLES + 1, len(VOLUMES), len(QUANTILES))).copy()
    labels = np.full((kinds, ROLES), "clerk")
    return Roles(np.array(known), log_p, prior, np.full((kinds, ROLES), 5.0), upper, labels)
