"""`sigssl lm`, `decode`, `align` and `score asr` on files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sigssl.asr.pieces import cuts
from sigssl.asr.store import LogProbs, LogProbWriter
from sigssl.asr.tokens import Tokens
from sigssl.cli.main import main
from sigssl.data.datadir import DataDir, Segment
from sigssl.data.io import read_json, read_table
from sigssl.errors import UserError

TEXTS = {"ann-1": "two one three", "ann-2": "one two", "bob-1": "three one two", "bob-2": "two three"}
SHIFT = 0.02


def rows_of(tokens: Tokens, text: str, noise: float, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    path = [0] * 3 + [n for number in tokens.encode(text) for n in (number, number, 0, 0)]
    rows = torch.randn(len(path), len(tokens), generator=generator) * noise
    rows[torch.arange(len(path)), torch.tensor(path)] += 6
    return rows.log_softmax(-1)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory, and the log-probabilities of its utterances."""
    monkeypatch.chdir(tmp_path)
    tokens = Tokens.from_texts("characters", TEXTS.values())
    with LogProbWriter("logprobs", tokens, SHIFT, 16000, {"model": "none"}) as writer:
        for seed, (id, text) in enumerate(TEXTS.items()):
            writer.write(id, rows_of(tokens, text, 1.8, seed))
    DataDir(
        Path("data"),
        wav={"rec": "rec.wav"},
        segments={id: Segment("rec", 10.0 * number, 10.0 * number + 5) for number, id in enumerate(TEXTS)},
        text={id: text.upper() + "." for id, text in TEXTS.items()},
        utt2spk={id: id[:3] for id in TEXTS},
    ).write()
    return tmp_path


def test_from_log_probabilities_to_scores(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm", "--order", "3", "data", "lm.arpa"]) == 0
    assert "4 sentences, 10 words, 3 different" in capsys.readouterr().out
    lm = ["--lm", "lm.arpa", "--lm-weight", "1.0", "--word-bonus", "0.5", "--nbest", "3"]
    ways = {"greedy": ["--method", "greedy"], "plain": [], "lm": [*lm, "--data", "data"], "lexicon": [*lm, "--method", "lexicon"]}
    errors = {}
    for name, words in ways.items():
        assert main(["decode", "logprobs", name, "--nj", "1", "--quiet", *words]) == 0
        assert main(["score", "asr", "--ref", "data", "--hyp", f"{name}/text", "--out", f"score_{name}"]) == 0
        errors[name] = read_json(f"score_{name}/metrics.json")["wer"]["errors"]
    assert errors["lexicon"] <= errors["lm"] < errors["plain"] <= 10 and errors["lm"] < errors["greedy"]
    assert Path("score_lm/wer").read_text().startswith("%WER ")
    lines = [json.loads(line) for line in Path("lm/nbest.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == sorted(TEXTS) and all(line["nbest"] for line in lines)
    scores = [one["score"] for one in lines[0]["nbest"]]
    assert scores == sorted(scores, reverse=True) and {w["word"] for w in lines[0]["words"]} >= {"two"}
    ctm = [line.split() for line in Path("lm/ctm").read_text().splitlines()]
    assert {line[0] for line in ctm} == {"rec"} and [float(line[2]) for line in ctm] == sorted(float(line[2]) for line in ctm)
    assert all(len(line) == 6 and 0 < float(line[5]) <= 1 for line in ctm)
    assert read_json("lm/decode.json")["settings"]["lm_weight"] == 1.0


def test_workers_change_nothing(place: Path) -> None:
    for nj in ("1", "2"):
        assert main(["decode", "logprobs", f"out{nj}", "--nj", nj, "--quiet", "--beam", "8"]) == 0
    for name in ("text", "ctm", "nbest.jsonl"):
        assert Path("out1", name).read_bytes() == Path("out2", name).read_bytes()


def test_align(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = "".join(f"{id} {text}!\n" for id, text in TEXTS.items() if id != "bob-2").replace("one two", "one twox")
    Path("some").write_text(texts)
    assert main(["align", "logprobs", "some", "aligned", "--textgrid"]) == 1
    said = capsys.readouterr()
    assert "'x' 2" in said.err and "bob-2\tit has no transcript" in Path("aligned/quarantine.tsv").read_text()
    first = [line.split() for line in Path("aligned/ctm").read_text().splitlines()][:3]
    assert [line[4] for line in first] == ["two", "one", "three"]
    assert float(first[0][2]) == pytest.approx(3 * SHIFT, abs=SHIFT) and float(first[0][3]) == pytest.approx(10 * SHIFT, abs=SHIFT)
    grid = Path("aligned/textgrid/ann-2.TextGrid").read_text()
    assert 'name = "words"' in grid and 'name = "tokens"' in grid and 'text = "one"' in grid


def test_long_recordings_are_searched_in_pieces(place: Path) -> None:
    tokens = LogProbs.open("logprobs").tokens
    whole = torch.cat([rows_of(tokens, text, 0.5, seed) for seed, text in enumerate([*TEXTS.values()] * 3)])
    pieces = list(cuts(whole, 60))
    assert max(stop - start for start, stop in pieces) <= 60
    assert [start for start, _ in pieces] == [0, *(stop for _, stop in pieces[:-1])] and pieces[-1][1] == len(whole)
    with LogProbWriter("long", tokens, SHIFT, 16000) as writer:
        writer.write("all", whole)
    for name, seconds in (("pieces", "1.5"), ("whole", "1000")):
        for method in ("greedy", "beam"):
            words = ["--longest", seconds, "--method", method, "--quiet", "--nj", "1"]
            assert main(["decode", "long", f"{name}_{method}", *words]) == 0
    assert read_table("pieces_greedy/text") == read_table("whole_greedy/text")
    assert read_table("pieces_beam/text") == read_table("whole_beam/text")
    times = [Path(f"{name}_greedy/ctm").read_text() for name in ("pieces", "whole")]
    assert times[0] == times[1]


def test_unreadable_utterances_are_set_aside(place: Path) -> None:
    lines = Path("logprobs/logprobs.scp").read_text().splitlines()
    Path("logprobs/logprobs.scp").write_text("\n".join([lines[0], "ann-2 gone.ark:5", *lines[2:]]) + "\n")
    assert main(["decode", "logprobs", "out", "--nj", "1", "--quiet", "--method", "greedy"]) == 1
    assert len(read_table("out/text")) == 3 and Path("out/quarantine.tsv").read_text().startswith("ann-2\tgone.ark:5\t")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "greedy", "--lm", "x.arpa"], "greedy decoding has no language model"),
        (["--method", "lexicon"], "needs words"),
        (["--lexicon", "x"], "used by --method lexicon only"),
        (["--lm", "none.arpa"], "no such language model"),
        (["--longest", "0"], "seconds above 0"),
    ],
)
def test_wrong_usage_is_explained(words: list[str], said: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "logprobs", "out", "--quiet", "--nj", "1", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_store_says_what_it_lacks(place: Path) -> None:
    with pytest.raises(UserError, match="no folder of log-probabilities"):
        LogProbs.open("data")
    about = read_json("logprobs/logprobs.json")
    Path("logprobs/logprobs.json").write_text(json.dumps(about | {"dim": 3}))
    with pytest.raises(UserError, match="dim 3"):
        LogProbs.open("logprobs")
    tokens = Tokens.from_texts("words", ["a b"])
    with LogProbWriter("new", tokens, SHIFT, 16000) as writer, pytest.raises(UserError, match="sums to"):
        writer.write("u", torch.zeros(4, 3))
