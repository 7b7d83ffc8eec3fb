"""Whole runs on tones: answers, folds, what the test data may touch, and the command line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sigssl.cli.main import main
from sigssl.data.datadir import DataDir
from sigssl.downstream.arms import make_arms
from sigssl.downstream.probe import Outcome, run, states
from sigssl.downstream.problem import Problem, read_problem
from sigssl.downstream.protocol import Fold
from sigssl.downstream.settings import ProbeSettings
from sigssl.downstream.states import align_labels
from sigssl.downstream.summary import predictions, summarise
from sigssl.errors import UserError
from sigssl.features import GlobalCMVN, LogMel
from sigssl.methods import FrameEncoder
from sigssl.nn import TransformerEncoder
from sigssl.training.checkpoint import save_encoder

QUICK = ProbeSettings(lrs=[1e-1, 1e-2], epochs=15, seeds=2, bootstrap=200, batch_size=16, heads=["linear", "knn"], ks=[1, 3])


@pytest.fixture(scope="module")
def tones(make_tones: Callable[..., DataDir], tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    return make_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Write a small random encoder that says it was pretrained on `speakers`."""

    def make(name: str, speakers: list[str] | None = None) -> str:
        torch.manual_seed(3)
        encoder = FrameEncoder(LogMel(40), TransformerEncoder(40, dim=16, layers=2, heads=2, ffn=32))
        meta = {"data": {"speakers": speakers}} if speakers is not None else {}
        return str(save_encoder(tmp_path_factory.mktemp("models") / name, encoder, meta))

    return make


def outcome(problem: Problem, settings: ProbeSettings, scratch: Path, models: list[str] | None = None) -> Outcome:
    return run(problem, make_arms(models or [], settings), settings, scratch)


def test_tones_are_told_apart_on_unseen_speakers(tones: DataDir, model: Callable[..., str], tmp_path: Path) -> None:
    settings = dataclasses.replace(QUICK, baselines=["logmel", "untrained"], heads=["linear", "knn"])
    done = outcome(read_problem({"all": tones}, settings, "loso"), settings, tmp_path, [model("rnd", ["others"])])
    metrics = summarise(done, settings)
    rows = {(row["arm"], row["head"]): row for row in metrics["rows"]}
    assert len(rows) == 6 and not list(tmp_path.iterdir())
    assert all(row["accuracy"]["mean"] == 1.0 and row["macro_f1"] == 1.0 for (arm, _), row in rows.items() if arm == "logmel")
    linear = rows["rnd", "linear"]
    assert linear["accuracy"]["mean"] > 0.8 and set(linear["by_speaker"]) == {"s0", "s1", "s2", "s3"}
    assert [fold["fold"] for fold in linear["by_fold"]] == ["s0", "s1", "s2", "s3"]
    assert all(abs(sum(fold["layer_weights"]) - 1) < 1e-5 for fold in linear["by_fold"])
    gap = rows["logmel", "knn"]["first_minus_this"]["mean"]
    assert gap == pytest.approx(rows["rnd", "knn"]["accuracy"]["mean"] - 1.0)
    assert np.sum(linear["confusion"]) == 2 * 36 and metrics["protocol"]["chance"] == pytest.approx(1 / 3)
    assert any("none of them a test speaker" in note for note in metrics["notes"])


def test_shuffled_labels_stay_at_chance(tones: DataDir, tmp_path: Path) -> None:
    shuffled = np.random.default_rng(1).permutation(list(tones.utt2label.values()))
    data = dataclasses.replace(tones, utt2label=dict(zip(tones.utt2label, shuffled.tolist(), strict=True)))
    settings = dataclasses.replace(QUICK, baselines=["logmel"], heads=["linear"])
    metrics = summarise(outcome(read_problem({"all": data}, settings, "loso"), settings, tmp_path), settings)
    assert metrics["rows"][0]["accuracy"]["mean"] < 0.6


def test_joined_layers_are_one_wide_layer(tones: DataDir, model: Callable[..., str], tmp_path: Path) -> None:
    settings = dataclasses.replace(QUICK, layers="joined", baselines=["untrained"], heads=["linear", "logistic", "knn"])
    path = model("rnd", ["others"])
    problem = read_problem({"all": tones}, settings, "loso")
    arm = make_arms([path], settings)[0]
    x = states(arm, problem.folds[0], problem, settings, tmp_path, "cpu").x
    apart = states(arm, problem.folds[0], problem, dataclasses.replace(settings, layers="best"), tmp_path, "cpu").x
    assert x.shape[1] == 1 and np.array_equal(x[:, 0], apart.reshape(len(apart), -1))
    for row in summarise(outcome(problem, settings, tmp_path, [path]), settings)["rows"]:
        assert row["accuracy"]["mean"] > 0.6  # one in three by chance
        assert all(fold["chosen"]["layer"] is None and fold["layer_weights"] is None for fold in row["by_fold"])


def test_an_untrained_encoder_has_its_own_folds_statistics(tmp_path: Path) -> None:
    for name, mean in (("a", -7.0), ("b", -7.0), ("c", -6.0)):
        encoder = FrameEncoder(LogMel(40, cmvn=GlobalCMVN([mean] * 40)), TransformerEncoder(40, dim=16, layers=1, heads=2, ffn=16))
        save_encoder(tmp_path / name, encoder, {})
    arm = make_arms([f"{tmp_path}/{{fold}}"], QUICK)[-1]
    folds = [Fold(name, 1, np.arange(0), (), np.arange(0)) for name in "abc"]
    assert arm.name.startswith("untrained") and arm.key_for(folds[0]) == arm.key_for(folds[1]) != arm.key_for(folds[2])
    encoders = [arm.encoder_for(fold) for fold in folds]
    assert [e.features.cmvn.mean[0] for e in encoders if isinstance(e, FrameEncoder)] == [-7.0, -7.0, -6.0]


@pytest.mark.parametrize("head", ["linear", "hidden", "logistic", "knn"])
def test_poisoned_test_labels_change_nothing_but_the_score(head: str, tones: DataDir, tmp_path: Path) -> None:
    settings = dataclasses.replace(QUICK, baselines=["logmel"], heads=[head], epochs=25, hidden=64)
    train, test = (tones.subset([u for u, s in tones.utt2spk.items() if (s == "s3") == last]) for last in (False, True))
    poison = {"low": "mid", "mid": "top", "top": "low"}
    poisoned = dataclasses.replace(test, utt2label={u: poison[label] for u, label in test.utt2label.items()})
    clean, bad = (
        outcome(read_problem({"train": train, "test": tested}, settings), settings, tmp_path).rows[0].folds[0]
        for tested in (test, poisoned)
    )
    assert clean.choice == bad.choice and np.array_equal(clean.predicted, bad.predicted)
    assert (clean.predicted == clean.truth).mean() > 0.8 > 0.2 > (bad.predicted == bad.truth).mean()


def test_models_of_folds_are_each_their_own(tones: DataDir, model: Callable[..., str], tmp_path: Path) -> None:
    settings = dataclasses.replace(QUICK, baselines=[], heads=["knn"])
    problem = read_problem({"all": tones}, settings, "loso")
    everyone = {f"s{i}" for i in range(4)}
    for name in everyone:
        folder = Path(model("fold", sorted(everyone - {name})))
        folder.rename(tmp_path / f"fold_{name}")
    (scratch := tmp_path / "scratch").mkdir()
    heard: list[str] = []
    run(problem, make_arms([f"{tmp_path}/fold_{{fold}}"], settings), settings, scratch, say=heard.append)
    assert sum("hidden states of" in line for line in heard) == 4
    with pytest.raises(UserError, match="pretrained on test speakers of fold s0"):
        outcome(problem, settings, scratch, [f"{tmp_path}/fold_s1"])
    allowed = dataclasses.replace(settings, transductive=True)
    notes = outcome(problem, allowed, scratch, [f"{tmp_path}/fold_s1"]).notes
    assert any("transductive, as asked" in note for note in notes)


def test_speakers_are_recognised_with_folds_over_utterances(tones: DataDir, tmp_path: Path) -> None:
    settings = dataclasses.replace(QUICK, target="speaker", baselines=["logmel"], heads=["logistic"], l2=[1e-2])
    metrics = summarise(outcome(read_problem({"all": tones}, settings, "3"), settings, tmp_path), settings)
    assert metrics["rows"][0]["accuracy"]["mean"] > 0.6 and metrics["protocol"]["speakers_apart"] is False
    with pytest.raises(UserError, match="cannot be recognised"):
        read_problem({"all": tones}, settings, "loso")


def test_frames_are_told_apart(make_tones: Callable[..., DataDir], model: Callable[..., str], tmp_path: Path) -> None:
    data = make_tones(tmp_path / "data", speakers=3, each=4, phones=True)
    settings = ProbeSettings(
        level="frame", target="phones", inner="part", part=0.2, heads=["linear", "knn"], lrs=[3e-2], ks=[5], epochs=6, seeds=2,
        batch_size=128, bootstrap=100, baselines=["logmel-deltas"],
    )  # fmt: skip
    done = outcome(read_problem({"all": data}, settings, "loso"), settings, tmp_path, [model("rnd")])
    metrics = summarise(done, settings)
    rows = {(row["arm"], row["head"]): row["accuracy"]["mean"] for row in metrics["rows"]}
    assert rows["logmel-deltas", "linear"] > 0.95 and rows["rnd", "knn"] > 0.5
    assert not (tmp_path / "states.f16").exists()
    lines = [line.split("\t") for line in predictions(done)]
    truth = {line[0]: line[6].split() for line in lines if line[3] == "rnd"}
    assert all(abs(len(truth[name]) - len(labels)) <= 1 for name, labels in data.phones.items())
    assert set(truth) == set(data.phones)


def test_frame_training_data_are_capped_and_said(make_tones: Callable[..., DataDir], tmp_path: Path) -> None:
    data = make_tones(tmp_path, speakers=3, each=4, phones=True)
    settings = ProbeSettings(level="frame", target="phones", max_frames=300)
    problem = read_problem({"all": data}, settings, "loso")
    frames = sum(map(len, problem.labels))
    assert 300 <= frames < 500 and "max_frames=300" in problem.notes[0]


def test_labels_are_read_at_the_middle_of_frames() -> None:
    assert align_labels(list("aabbc"), 5, 0.01) == list("aabbc") and align_labels(list("aabbcc"), 3, 0.02) == list("abc")
    assert align_labels(list("ab"), 3, 0.01) == list("abb")
    with pytest.raises(UserError, match=r"utterance u: 90 labels, 0.90 s, for 1.00 s of frames"):
        align_labels(["a"] * 90, 100, 0.01, "utterance u")


def test_problems_are_refused(tones: DataDir) -> None:
    with pytest.raises(UserError, match="no utterance has a label"):
        read_problem({"all": dataclasses.replace(tones, utt2label={})}, QUICK, "loso")
    with pytest.raises(UserError, match="hold 1 class\\(es\\) of label"):
        read_problem({"all": dataclasses.replace(tones, utt2label=dict.fromkeys(tones.utt2label, "x"))}, QUICK, "loso")
    with pytest.raises(UserError, match="in the train part and in the test part"):
        read_problem({"train": tones, "test": tones}, QUICK)
    with pytest.raises(UserError, match="--folds 5 divides utterances"):
        read_problem({"all": tones}, QUICK, "5")
    some = dict(list(tones.utt2label.items())[::2])
    assert "18 of 36 utterances" in read_problem({"all": dataclasses.replace(tones, utt2label=some)}, QUICK, "loso").notes[0]


def test_a_class_that_training_lacks_counts_as_wrong(tones: DataDir, tmp_path: Path) -> None:
    labels = {u: "new" if tones.utt2spk[u] == "s3" and label == "top" else label for u, label in tones.utt2label.items()}
    data = dataclasses.replace(tones, utt2label=labels)
    train, test = (data.subset([u for u, s in data.utt2spk.items() if (s == "s3") == last]) for last in (False, True))
    settings = dataclasses.replace(QUICK, baselines=["logmel"], heads=["knn"])
    done = outcome(read_problem({"train": train, "test": test}, settings), settings, tmp_path)
    assert summarise(done, settings)["rows"][0]["accuracy"]["mean"] == pytest.approx(2 / 3)
    assert any("3 of 36 labels are of classes that the training data lack" in note for note in done.notes)


def test_settings_are_checked() -> None:
    for change, words in (
        ({"target": "phones"}, "not a class of an utterance"),
        ({"layers": "first"}, "layers='first'"),
        ({"lrs": []}, "lrs is empty"),
        ({"segments": 0}, "segments=0"),
        ({"part": 1.0}, "part=1.0"),
        ({"lrs": [-1.0]}, "above 0"),
        ({"level": "frame", "target": "phones", "heads": ["logistic"]}, "use head 'linear'"),
    ):
        with pytest.raises(UserError, match=words):
            dataclasses.replace(QUICK, **change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="Did you mean 'logmel'"):
        make_arms([], dataclasses.replace(QUICK, baselines=["logmell"]))


def test_the_command_leaves_numbers_predictions_tables_and_figures(
    tones: DataDir, model: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["probe", "--config", "recipes/conf/probe/utterance.yaml", "--model", model("rnd", ["x"]), "--data", str(tones.path)]
    words += [
        "--out",
        str(tmp_path / "out"),
        "epochs=3",
        "seeds=2",
        "lrs=[1e-1,1e-2]",
        "bootstrap=50",
        "l2=[1e-2]",
        "baselines=[logmel]",
    ]
    assert main(words) == 0
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "metrics.json", "table.md", "predictions.tsv", "accuracy.png", "speakers.png", "confusion.png", "layers.png",
    }  # fmt: skip
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["kind"] == "probe" and metrics["settings"]["lrs"] == [0.1, 0.01]
    assert len((out / "predictions.tsv").read_text().splitlines()) == 1 + 36 * (2 * 2 + 2 * 1)
    page = (out / "table.md").read_text()
    for words_there in ("no test speaker is in the training data", "with so few speakers they are rough", "![", "learning rate"):
        assert words_there in page
    assert "| rnd | linear |" in capsys.readouterr().out


def test_the_command_explains_itself(tones: DataDir, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["probe", "--data", "a", "--train", "b", *out]) == 2 and "exclude one another" in capsys.readouterr().err
    assert main(["probe", "--train", "b", *out]) == 2 and "--test missing" in capsys.readouterr().err
    assert main(["probe", "--data", str(tones.path), "--head", "knn", *out]) == 2
    assert "Did you mean 'heads'" in capsys.readouterr().err
    assert main(["probe", "--data", str(tones.path), *out]) == 2 and "name a --model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
