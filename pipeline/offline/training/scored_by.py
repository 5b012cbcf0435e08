"""Which models scored logged vectors, and with which roles: a model that learns from them must have the same.

How surprising a call was is a feature, and it was computed with the roles of the model that decided then. Vectors of
models with other roles cannot be mixed: the same call would have two values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from models.artefacts import SHIPPED, BadModel
from models.detectors.base import NoDetector
from models.roles.roles import Roles
from pipeline.assembly import configured
from pipeline.control.active import tag_of
from pipeline.control.reloader import Model, Models
from pipeline.offline.training.train import Data
from pipeline.settings.loading import Settings


def known_roles(settings: Settings) -> dict[str, Roles | None]:
    """Return the roles of each model that can be loaded from the folder of *settings* or that ships, by its id."""
    found: dict[str, Roles | None] = {NoDetector.id: None}
    for models in dict.fromkeys((configured(settings).models, Models(SHIPPED))):
        for detector, roles in _usable(models):
            found.setdefault(detector.id, roles)
    return found


def _usable(models: Models) -> Iterable[Model]:
    for name in models.names():
        try:
            yield models.read(name)
        except BadModel:  # what it scored is reported as by a model that is not known
            continue


def with_roles_of_vectors(data: Data, known: Mapping[str, Roles | None]) -> Data:
    """Return *data* with the roles with which most of its vectors were scored, and only with these vectors.

    *known* has the roles of each model by its id. The others are counted in `Data.left_out`.

    Raises:
        BadModel: none of the models that scored the vectors is known.
    """
    scored = Counter(data.vectors.model.tolist())
    by_tag: Counter[int] = Counter()
    for model, number in scored.items():
        if model in known:
            by_tag[tag_of(known[model])] += number
    if not by_tag:
        raise BadModel(
            f"the vectors were scored by {', '.join(sorted(scored)) or 'no model'}, and a model that learns from them "
            "needs the roles of that one, which is not there: put its folder into SESSION_RISK_MODEL_DIR, or train on "
            "a recording, from which roles are learned"
        )
    tag = max(by_tag, key=lambda tag: (by_tag[tag], tag))
    kept = sorted(model for model in scored if model in known and tag_of(known[model]) == tag)
    return replace(
        data,
        vectors=data.vectors.take(np.isin(data.vectors.model.astype(np.str_), kept)),
        roles=known[kept[0]],
        left_out={model: number for model, number in sorted(scored.items()) if model not in kept},
    )
