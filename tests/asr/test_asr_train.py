"""Training a recogniser: what changes and what does not, going on after a kill, what is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from asr_speech import RATE, corpus, say

from sigssl.asr import train as training
from sigssl.asr.checkpoint import read_checkpoint
from sigssl.asr.examples import gather
from sigssl.asr.inputs import Inputs
from sigssl.asr.recogniser import load_recogniser
from sigssl.asr.run import Job, make_encoder, make_recogniser, prepare, run
from sigssl.asr.settings import AsrSettings, DecoderSettings, HeadSettings, MaskSettings
from sigssl.asr.tokens import Tokens
from sigssl.data.batching import Planned, Position
from sigssl.data.datadir import DataDir
from sigssl.data.io import read_json, write_table
from sigssl.data.subset import balanced_share
from sigssl.errors import UserError
from sigssl.features import LogMel
from sigssl.methods import FrameEncoder
from sigssl.nn import TransformerEncoder
from sigssl.training.checkpoint import load_encoder, save_encoder

DECODER = DecoderSettings(dim=8, layers=1, heads=2, ffn=16)
HEAD = HeadSettings(kind="blstm", stack=3, projection=8, hidden=8, layers=1, dropout=0.1, decoder=DECODER)
SETTINGS = AsrSettings(
    head=HEAD, updates=6, batch_seconds=6.0, lr=1e-2, encoder_lr=1e-3, mask=MaskSettings(times=1, channels=1), log_every=2,
    validate_every=3, save_every=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve sentences, and an encoder."""
    folder = tmp_path_factory.mktemp("train")
    corpus(folder / "data", 12)
    torch.manual_seed(0)
    body = TransformerEncoder(input_dim=20, dim=16, layers=2, heads=2, ffn=32, dropout=0.1)
    save_encoder(folder / "encoder", FrameEncoder(LogMel(n_mels=20, sample_rate=RATE), body, window=200, overlap=40))
    return folder


@pytest.fixture
def job(place: Path, tmp_path: Path) -> Callable[..., Job]:
    """Makes a run with other settings."""

    def make(out: str = "exp", **changes: object) -> Job:
        data = str(place / "data")
        return Job(data, data, tmp_path / out, replace(SETTINGS, **changes), str(place / "encoder"))  # type: ignore[arg-type]

    return make


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_recogniser(path).state_dict()


def changed(path: Path, encoder: Path) -> set[str]:
    """Names of the encoder's weights that a run has changed."""
    before, after = load_encoder(encoder).state_dict(), load_recogniser(path).encoder.state_dict()  # type: ignore[attr-defined]
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("case", ["frozen", "full", "thaw", "seq2seq"])
def test_a_killed_run_goes_on_bit_for_bit(case: str, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, object] = {"tune": "frozen" if case == "frozen" else "full"}
    changes |= {"thaw_after": 3} if case == "thaw" else {}
    changes |= {"head": replace(HEAD, kind="seq2seq")} if case == "seq2seq" else {}
    one = run(job("whole", **changes))
    step, done = training.Trainer.step, []

    def dies(self: training.Trainer, loaded: object) -> None:
        if len(done) == 5:
            raise RuntimeError("killed")
        done.append(1)
        step(self, loaded)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(training.Trainer, "step", dies)
        with pytest.raises(RuntimeError, match="killed"):
            run(job("killed", **changes))
    lines = (job("killed").out / "metrics.jsonl").read_text()
    (job("killed").out / "metrics.jsonl").write_text(lines + '{"step": 5, "lo')
    two = run(job("killed", **changes))
    assert {k: v for k, v in one.items() if k != "seconds_taken"} == {k: v for k, v in two.items() if k != "seconds_taken"}
    first, second = weights(job("whole").out), weights(job("killed").out)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert (job("whole").out / "metrics.jsonl").read_text() == (job("killed").out / "metrics.jsonl").read_text()


def test_what_is_frozen_stays_bit_for_bit(job: Callable[..., Job], place: Path) -> None:
    for out, changes in (("a", {"tune": "frozen"}), ("b", {"tune": "full", "thaw_after": 100})):
        run(job(out, **changes))
        assert not changed(job(out).out, place / "encoder")
    run(job("c", tune="last_block"))
    names = changed(job("c").out, place / "encoder")
    assert names and all(name.startswith("body.blocks.1.") for name in names)


def test_thawing(job: Callable[..., Job], place: Path) -> None:
    run(job(tune="full", thaw_after=2))
    assert changed(job().out, place / "encoder") == set(load_encoder(place / "encoder").state_dict())  # type: ignore[attr-defined]
    lines = [json.loads(line) for line in (job().out / "metrics.jsonl").read_text().splitlines()]
    rates = [line["encoder_lr"] for line in lines if "encoder_lr" in line]
    assert rates[0] == 0 and rates[1] > 0 and all("blank_ratio" in line for line in lines if "loss" in line)


def test_from_scratch_is_another_encoder(job: Callable[..., Job], place: Path) -> None:
    scratch = make_encoder(job(start="scratch", tune="full")).state_dict()
    trained = load_encoder(place / "encoder").state_dict()  # type: ignore[attr-defined]
    assert scratch.keys() == trained.keys() and not torch.equal(scratch["body.embed.weight"], trained["body.embed.weight"])
    again = make_encoder(job(start="scratch", tune="full")).state_dict()
    assert torch.equal(scratch["body.embed.weight"], again["body.embed.weight"])


def test_kept_states_are_computed_states(job: Callable[..., Job], place: Path) -> None:
    encoder, data = make_encoder(job()), DataDir.read(place / "data")
    tokens, found = prepare(data, data, SETTINGS, encoder)
    recogniser = make_recogniser(encoder, tokens, SETTINGS).eval()
    kept = Inputs(found.train, recogniser, frozen=True, room=1e9)
    computed = Inputs(found.train, recogniser, frozen=True, room=1e3)
    assert kept.stores and not computed.stores and kept.used <= 1e9
    plan = Planned(Position(0, 0), (3, 0, 7))
    for _ in range(2):
        (one,), (two,) = list(kept.load([plan])), list(computed.load([plan]))
        first, second = kept.states(one), computed.states(two)
        assert torch.equal(first[1], second[1]) and len(first[0]) == 3
        for a, b in zip(first[0], second[0], strict=True):
            for item, count in enumerate(first[1].tolist()):
                assert torch.allclose(a[item, :count], b[item, :count], atol=1e-5)


def test_what_cannot_be_learned_is_left_out_and_said(tmp_path: Path, place: Path) -> None:
    data = corpus(tmp_path / "data", 8)
    data.text["s0-000"] = "bad cab fed gag deaf " * 20
    data.text["s1-001"] = "!?"
    del data.text["s2-002"]
    Path(data.wav["s3-003"]).write_bytes(b"no audio")
    soundfile.write(data.wav["s0-004"], say("bad " * 60), RATE)
    data.wav["s1-005"] = str(tmp_path / "truncated.wav")
    whole = Path(data.wav["s2-006"]).read_bytes()
    Path(data.wav["s1-005"]).write_bytes(whole[: len(whole) // 2])
    data.utt2dur = {"s1-005": 0.9}
    data.write()
    job = Job(str(tmp_path / "data"), str(place / "data"), tmp_path / "exp", SETTINGS, str(place / "encoder"))
    metrics = run(job)
    skipped = dict(line.split("\t") for line in (tmp_path / "exp/skipped.tsv").read_text().splitlines())
    assert set(skipped) == {"s0-000", "s1-001", "s2-002", "s3-003", "s0-004", "s1-005"}
    assert "frames" in skipped["s0-000"] and "normalisation" in skipped["s1-001"] and "no transcript" in skipped["s2-002"]
    assert "longer than 30" in skipped["s0-004"] and "truncated" in skipped["s1-005"]
    assert metrics["skipped"]["train"] == {"too short": 1, "no transcript": 2, "unreadable": 2, "too long": 1}
    assert read_json(tmp_path / "exp/metrics.json")["utterances"]["train"] == 3


def test_short_by_one_frame(place: Path) -> None:
    encoder = load_encoder(place / "encoder")
    data = DataDir.read(place / "data")
    text = dict.fromkeys(data.text, "a")
    tokens = Tokens.from_texts("characters", ["ab"])
    frames = {one.id: one.frames for one in gather(data, text, tokens, encoder, 3, 30.0)[0]}  # type: ignore[arg-type]
    for id, count in frames.items():
        text[id] = "ab" * 200
        for length, kept in ((-(-count // 3), True), (-(-count // 3) + 1, False)):
            text[id] = ("ab" * 200)[:length]
            found, skipped, _ = gather(data.subset([id]), text, tokens, encoder, 3, 30.0)  # type: ignore[arg-type]
            assert bool(found) == kept and bool(skipped) != kept


def test_another_run_is_not_gone_on_from(job: Callable[..., Job]) -> None:
    run(job())
    with pytest.raises(UserError, match="other settings"):
        run(job(lr=5e-3))
    run(replace(job(lr=5e-3), overwrite=True))
    again = run(job(lr=5e-3, log_every=1))  # nothing is left to do
    assert again["updates"] == 6
    (job().out / "checkpoints/last.ckpt").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be read"):
        run(job(lr=5e-3))


def test_a_pickle_in_place_of_a_checkpoint_is_refused(job: Callable[..., Job], tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(tmp_path / "harm"),))

    torch.save({"identity": Evil()}, tmp_path / "model.pt")
    with pytest.raises(UserError, match="pickled"):
        read_checkpoint(tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"pickled checkpoint.*refused"):
        load_recogniser(tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"pickled checkpoint.*refused"):
        load_recogniser(tmp_path)
    assert not (tmp_path / "harm").exists()


def test_a_share_is_balanced_and_nested(place: Path) -> None:
    utt2spk = {f"{speaker}-{n}": speaker for speaker, count in (("a", 40), ("b", 20), ("c", 10)) for n in range(count)}
    data = DataDir(place, wav=dict.fromkeys(utt2spk, "x"), utt2spk=utt2spk)
    shares = [set(balanced_share(data, list(utt2spk), fraction, 1)) for fraction in (0.1, 0.3, 1.0)]
    assert shares[0] < shares[1] < shares[2] == set(utt2spk) and [len(s) for s in shares] == [7, 21, 70]
    assert [sum(utt2spk[id] == speaker for id in shares[1]) for speaker in "abc"] == [12, 6, 3]
    assert shares[0] != set(balanced_share(data, list(utt2spk), 0.1, 2))


def test_fraction_is_listed(job: Callable[..., Job]) -> None:
    metrics = run(job(fraction=0.5))
    listed = (job().out / "train_utts.txt").read_text().split()
    assert len(listed) == metrics["utterances"]["train"] == 6 and len({id[:2] for id in listed}) == 4


@pytest.mark.parametrize(("kind", "count"), [("phones", 8), ("words", 6), ("subwords", 2)])
def test_units_of_text(kind: str, count: int, job: Callable[..., Job]) -> None:
    data = DataDir.read(job().train)
    write_table(Path(job().train) / "units", {id: " ".join(text.replace(" ", "")) for id, text in data.text.items()})
    changes = {"transcripts": "units"} if kind == "phones" else {"vocabulary": 20}
    metrics = run(job(tokens=kind, updates=1, normaliser=None, **changes))
    tokens = load_recogniser(job().out).tokens
    assert metrics["tokens"]["kind"] == tokens.kind == kind and len(tokens) >= count
    assert tokens.decode(tokens.encode("b a d" if kind == "phones" else "bad")) in ("b a d", "bad")


def test_gradients_that_are_not_finite_stop_a_run(job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "NON_FINITE_LIMIT", 3)
    monkeypatch.setattr(training.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(np.nan))
    with pytest.raises(UserError, match="3 gradients were not finite"):
        run(job())


@pytest.mark.parametrize(("by", "update"), [("wer", 3), ("cer", 6)])
def test_the_best_update_is_chosen_by_words_or_characters(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, by: str, update: int
) -> None:
    heard = iter([{"wer": 1.0, "cer": 0.9}, {"wer": 1.2, "cer": 0.5}])
    monkeypatch.setattr("sigssl.asr.evaluate.Dev.scores", lambda self: {**next(heard), "loss": 1.0, "blank_ratio": 0.5})
    assert run(job(best_by=by))["best_update"] == update
