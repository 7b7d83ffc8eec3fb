"""A report of a made-up experiment folder shows every section it has matter for, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from sigssl.cli.main import main
from sigssl.config import describe
from sigssl.data.datadir import DataDir
from sigssl.data.store import StoreInfo
from sigssl.errors import UserError
from sigssl.features import LogMel
from sigssl.methods import TERA, FrameEncoder
from sigssl.nn import TransformerEncoder
from sigssl.reports.pretraining import read_run
from sigssl.reports.probe import draw, probe_page, with_best_head
from sigssl.reports.report import write_report
from sigssl.reports.tables import markdown, probe_report
from sigssl.training.run import write_settings
from sigssl.views import Alter

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    folder = tmp_path / "data"
    folder.mkdir()
    time = np.arange(16000) / 16000
    soundfile.write(folder / "u.wav", 0.3 * np.sin(2 * np.pi * (300 + 400 * time) * time), 16000)
    made = DataDir(folder, wav={"u": str(folder / "u.wav")}, segments=None, utt2spk={"u": "s"}, utt2dur={"u": 1.0})
    made.write()
    return made


def write_run(folder: Path, data: Path, validated: bool = True, finished: bool = True) -> Path:
    """A run folder as `sigssl pretrain` leaves it, of a method that has learned nothing."""
    torch.manual_seed(0)
    method = TERA(FrameEncoder(LogMel(40), TransformerEncoder(40, dim=16, layers=1, heads=2, ffn=32)), Alter())
    (folder / "checkpoints").mkdir(parents=True)
    state = {f"method.{name}": value for name, value in method.state_dict().items()}
    torch.save({"state_dict": state}, folder / "checkpoints" / "last.ckpt")
    write_settings(folder, {"method": describe(method), "data": {"train": str(data)}, "optim": {}, "trainer": {"updates": 40}})
    rows: list[dict[str, Any]] = [{"step": step, "loss": 1 / step, "lr": 1e-3, "hours": step / 10} for step in (10, 20, 30, 40)]
    for row in rows[1::2] if validated else []:
        row |= {"valid_loss": 1.1 * row["loss"], "effective_rank": 3.0 + row["step"]}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts = {"parameters": 12345, "device": "cpu", "precision": "32-true", "data": {"hours": 0.25}}
    (folder / "run.json").write_text(json.dumps(facts))
    if finished:
        (folder / "metrics.json").write_text(json.dumps({"finished": True, **rows[-1]}))
    return folder


def probe_metrics(arms: int = 3, speakers: int = 3, classes: int = 3, heads: tuple[str, ...] = ("linear",)) -> dict[str, Any]:
    """Metrics as :func:`sigssl.downstream.summary.summarise` makes them."""
    names, folds = [f"s{i}" for i in range(speakers)], [f"f{i}" for i in range(2)]
    rows = []
    for arm in range(arms):
        for head in heads:
            value = 0.9 - 0.1 * arm
            row: dict[str, Any] = {
                "arm": f"arm{arm}", "what": "a | b", "head": head,
                "accuracy": {"mean": value, "low": value - 0.1, "high": value + 0.05},
                "seeds": 3, "sd_over_seeds": 0.01, "macro_f1": value, "validation_accuracy": value + 0.01 * (head == "knn"),
                "by_speaker": dict.fromkeys(names, value), "confusion": (np.eye(classes) * 10 + 1).tolist(),
                "by_fold": [
                    {
                        "fold": fold, "accuracy": value, "validation_accuracy": value,
                        "chosen": {"layer": None, "lr": 0.01, "l2": 0.0, "epochs": 7, "k": 0}, "layer_weights": [0.2, 0.5, 0.3],
                    }
                    for fold in folds
                ],
            }  # fmt: skip
            if arm:
                row["first_minus_this"] = {"mean": 0.1 * arm, "low": 0.05, "high": 0.2}
            rows.append(row)
    settings = {
        "target": "label", "level": "utterance", "heads": list(heads), "batch_size": 64, "lrs": [0.01], "epochs": 9, "l2": [0.1],
        "ks": [1], "bootstrap": 100,
    }  # fmt: skip
    protocol = {
        "folds": 2, "fold_names": folds, "train": [8, 9], "inner_splits": 2, "validation": [4, 4], "test": 6,
        "test_speakers": speakers,
        "test_rows": 6, "speakers_apart": True, "chance": 1 / 3,
    }  # fmt: skip
    labels = [f"class{i}" for i in range(classes)]
    found = {"settings": settings, "protocol": protocol, "notes": ["A note."], "classes": labels, "speakers": names, "rows": rows}
    return {"kind": "probe", **found}


def test_every_section_is_there_with_its_figures(data: DataDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exp = tmp_path / "exp"
    write_run(exp / "tera", data.path)
    (exp / "probe").mkdir()
    (exp / "probe" / "metrics.json").write_text(json.dumps(probe_metrics()))
    (exp / "feats").mkdir()
    StoreInfo("features", 40, 0.01, 16000, "ln power").write(exp / "feats")
    (exp / "feats" / "feats.scp").write_text("a x:1\nb x:2\n")
    (exp / "report").mkdir()
    (exp / "report" / "metrics.json").write_text(json.dumps(probe_metrics()))  # the report is not its own subject
    assert main(["report", str(exp)]) == 0
    page = (exp / "report" / "REPORT.md").read_text()
    for words in (
        "## Pretraining", "| tera | TERA | 12,345 | 0.25 | 40 | 4.0 | 0.0250 | 0.0275 | 43.0 |", "## Reconstruction", "u of ",
        "## Probe probe: label, utterance level", "| arm0 | linear | 90.0 |", "+10.0 (+5.0 to +20.0)", "- A note.", "a \\| b",
        "## Stored features and embeddings", "| feats | features | 2 | 40 | 10 | ln power |",
    ):  # fmt: skip
        assert words in page, words
    assert page.count("## Probe") == 1
    linked = [line.split("](")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")]
    assert {Path(name).name for name in linked} == {
        "loss.png", "reconstruction.png", "accuracy.png", "speakers.png", "confusion.png", "layers.png",
    }  # fmt: skip
    assert all((exp / "report" / name).read_bytes().startswith(PNG) for name in linked)
    assert "REPORT.md is written" in capsys.readouterr().out


def test_sections_without_matter_are_left_out(data: DataDir, tmp_path: Path) -> None:
    write_run(tmp_path / "exp" / "one", data.path, validated=False, finished=False)
    write_run(tmp_path / "exp" / "two", data.path)
    page = write_report(tmp_path / "exp", tmp_path / "out").read_text()
    assert "40 (unfinished)" in page and "## Probe" not in page and "## Stored" not in page and page.count("loss.png") == 1


def test_a_reconstruction_that_cannot_be_made_is_said_to_be_missing(data: DataDir, tmp_path: Path) -> None:
    write_run(tmp_path / "exp" / "one", tmp_path / "gone")
    assert "No reconstruction is shown: " in write_report(tmp_path / "exp", tmp_path / "out").read_text()


def test_nothing_to_report_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        write_report(tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match="no such folder"):
        write_report(tmp_path / "gone", tmp_path / "out")


def test_a_line_cut_by_a_kill_is_passed_over_and_another_is_named(data: DataDir, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", data.path)
    whole = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(whole + '{"step": 50, "lo')
    assert len(read_run(run, "run").rows) == 4
    (run / "metrics.jsonl").write_text("{\n" + whole)
    with pytest.raises(UserError, match=r"metrics\.jsonl:1: is no JSON"):
        read_run(run, "run")


@pytest.mark.parametrize(("speakers", "classes", "heads"), [(1, 2, ("knn",)), (60, 20, ("linear", "knn"))])
def test_figures_of_any_size(speakers: int, classes: int, heads: tuple[str, ...], tmp_path: Path) -> None:
    metrics = probe_metrics(4, speakers, classes, heads)
    drawn = {path.name for path in draw(metrics, tmp_path)}
    assert ("speakers.png" in drawn) == (1 < speakers <= 40) and {"accuracy.png", "confusion.png"} <= drawn
    for row in metrics["rows"]:
        for fold in row["by_fold"]:
            fold["layer_weights"] = None
    draw(metrics, tmp_path)
    assert not (tmp_path / "layers.png").exists()  # that of the earlier run is removed
    assert probe_page(metrics, "there", tmp_path).count("](there/") == len(list(tmp_path.iterdir()))


def test_the_head_shown_is_chosen_on_validation_data() -> None:
    assert {row["head"] for row in with_best_head(probe_metrics(heads=("linear", "knn"))["rows"])} == {"knn"}


def test_tables() -> None:
    assert markdown(["a", "b"], [["x|y", "1"]]) == "| a | b |\n| :-- | --: |\n| x\\|y | 1 |\n"
    text = probe_report(probe_metrics(heads=("linear", "knn")))
    assert "learning rates 0.01" in text and "k 1" in text and "Head logistic" not in text
    assert "30 more speakers" in probe_report(probe_metrics(speakers=60))
