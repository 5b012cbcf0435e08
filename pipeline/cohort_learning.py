"""From vectors to cohorts: what is usual at tenants, in the roles of the model that scored them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.cohort_fit import Reached, fit_cohorts
from models.features import FEATURE_NAMES
from models.fingerprint import brief
from models.roles import VOLUMES
from pipeline.training import Data, attacked_sessions
from pipeline.vectors import Vectors, drawn


def with_cohorts(data: Data, model: str) -> Data:
    """Return *data* whose roles, those of *model*, know what is usual at the tenants of its vectors.

    A vector tells a role where it is of a call, and one was clear; what another model scored tells of its
    own roles. Where that is not enough of any tenant, the roles go on knowing what they knew of tenants.
    """
    if data.roles is None:
        return data
    vectors, attacked = data.vectors, attacked_sessions(data.vectors)
    honest = np.array([session not in attacked for session in vectors.sessions], np.bool_)
    told = honest & drawn(vectors, data.low_share) & (vectors.role >= 0) & (vectors.model == model)
    if not told.any():
        return data
    # Its usual values were learned elsewhere, so even a tenant that is alone differs from them.
    cohorts = fit_cohorts(data.roles.usual, _cohort_samples(vectors.take(told)), alone=True)
    return replace(data, roles=replace(data.roles, cohorts=cohorts)) if cohorts.tenants.size else data


def _cohort_samples(vectors: Vectors) -> Reached:
    wanted = [FEATURE_NAMES.index(name) for name in VOLUMES]
    tenants, of = np.unique(vectors.tenant.astype(np.str_), return_inverse=True)
    return Reached(
        vectors.values[:, wanted], vectors.kinds, vectors.role.astype(np.int64),
        vectors.session_numbers.astype(np.uint64), np.array([*map(brief, tenants.tolist())], np.uint32)[of],
    )  # fmt: skip
