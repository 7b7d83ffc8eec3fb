"""The stager that comes with the package: it loads by name, says what it is, and stages a made night well above chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.metrics import cohen_kappa_score

from sigssl.corpora import synthetic_psg
from sigssl.data.stages import to_int
from sigssl.downstream.stager import SHIPPED, load_stager
from sigssl.downstream.staging import StagingSettings, stage_recording


def test_every_shipped_stager_has_a_card_with_what_a_user_must_know() -> None:
    folders = sorted(path.parent for path in SHIPPED.glob("*/config.yaml"))
    assert [folder.name for folder in folders][:1] == ["sleep_bandpower"]
    for folder in folders:
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert all(word in card for word in ("ODC-By", "not a medical device", "Trained on", "Scores", "Not for"))
        assert sum(path.stat().st_size for path in folder.iterdir()) < 2e6


def test_a_made_night_is_staged_above_a_floor(tmp_path: Path) -> None:
    night = synthetic_psg.prepare(None, tmp_path, nights=1, hours=3.0, seed=3, nj=1)["all"]
    (path,) = night.wav.values()
    staged = stage_recording(Path(path), load_stager("sleep_bandpower"), StagingSettings(), name="night", figure=False)
    (truth,) = night.stages.values()
    (segment,) = (night.segments or {}).values()
    first = round(segment.start / 30)
    said, known = np.asarray(to_int(staged.stages))[first : first + len(truth)], to_int(truth)
    scored = (known >= 0) & (said >= 0)
    assert cohen_kappa_score(known[scored], said[scored]) > 0.5
