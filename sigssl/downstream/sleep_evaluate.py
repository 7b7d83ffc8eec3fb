"""A stager on a folder of feature nights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sigssl.data.feature_nights import read_feature_nights, subjects_of
from sigssl.downstream.fronts import BandPowerFront
from sigssl.downstream.sleep_scores import Staged, score
from sigssl.downstream.stager import load_stager, stager_meta
from sigssl.errors import UserError

KIND = "sleep-score"  # how a metrics.json says what it is of


def evaluate(model: str, root: Path, bootstrap: int = 2000) -> tuple[dict[str, Any], list[Staged]]:
    """Stage and score all nights of a folder.

    Args:
        model: a stager's folder or a shipped one's name; its front takes band powers.
        root: as sleepedf_bandpower_sc153.
        bootstrap: resamples of the subjects.

    Returns:
        Plain values for metrics.json, and the staged nights. Where subjects of the folder have the names of some that the stager
        was trained or selected on, "subjects_seen_in_training" lists them, and "unseen" scores the others by themselves.

    Raises:
        UserError: a stager that takes no band powers, or features of another number.
    """
    stager, meta = load_stager(model), stager_meta(model)
    front = stager.front
    if not isinstance(front, BandPowerFront):
        raise UserError(f"{model}: its front is {type(front).__name__}; feature nights hold band powers.")
    nights = read_feature_nights(root)
    width = front.features.dim // (2 if front.features.night else 1)
    if nights[0].features.shape[1] != width:
        raise UserError(f"{root}: nights have {nights[0].features.shape[1]} features, {model} takes {width}.")
    staged = []
    for night in nights:
        x = front.features.rescale(torch.from_numpy(night.features))
        staged.append(Staged(night.id, night.subject, night.stages, stager.stage_features(x).numpy()))
    seen = {s for part in ("train", "validation") for s in meta.get("subjects", {}).get(part, [])}
    known = sorted(seen & set(subjects_of(nights)))
    unseen = [night for night in staged if night.subject not in seen]
    result = {
        "kind": KIND,
        "model": model,
        "weights_sha256": meta.get("weights_sha256"),
        "root": str(root),
        "subjects_seen_in_training": known,
        **score(staged, bootstrap),
        "unseen": score(unseen, bootstrap) if known and unseen else None,
    }
    return result, staged
