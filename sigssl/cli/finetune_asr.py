"""`sigssl finetune asr`: a recogniser on an encoder, or on features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ActionConfigFile, ArgumentParser

from sigssl.asr.settings import AsrSettings
from sigssl.cli.common import instantiate, make_parser, parse

EXAMPLE = "sigssl finetune asr --config recipes/conf/asr/ctc.yaml --model exp/tera --train data/train --dev data/dev --out exp/asr"


def make() -> ArgumentParser:
    """The verb's parser."""
    parser = make_parser(
        "finetune asr",
        "Train a speech recogniser: a CTC head (linear, or SUPERB's BLSTM), or CTC with an attention decoder, on a frozen, partly "
        "or fully tuned encoder, or on features. The best update by dev WER (or CER: best_by) is kept, with its tokens, "
        "normalisation and a model card. A run that was killed goes on where it was when the same command is given again.",
        EXAMPLE,
    )
    add = parser.add_argument
    add("--config", action=ActionConfigFile, help="YAML file with settings.")
    add("--model", type=str | None, default=None, help="Encoder: a run of sigssl pretrain, an exported encoder, a checkpoint.")
    add("--features", type=str | None, default=None, help="In place of --model: YAML file with features: {class_path, init_args}.")
    add("--train", type=str, required=True, help="Data directory to learn from (wav.scp, text, utt2spk).")
    add("--dev", type=str, required=True, help="Data directory by which the best update is chosen.")
    add("--out", type=str, required=True, help="Run folder: recogniser/, metrics.json, metrics.jsonl, skipped.tsv.")
    add("--overwrite", type=bool, default=False, help="Begin anew where the folder holds a run.")
    add("--quiet", type=bool, default=False, help="Say less.")
    parser.add_class_arguments(AsrSettings, nested_key=None)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the verb; exit code 0."""
    parser = make()
    words = instantiate(parser, parse(parser, argv))
    settings = AsrSettings(**{name: words[name] for name in AsrSettings.__dataclass_fields__})

    from sigssl.asr.run import Job, run

    job = Job(words.train, words.dev, Path(words.out), settings, words.model, words.features, words.overwrite)
    metrics = run(job, (lambda line: None) if words.quiet else lambda line: print(line, flush=True))
    seconds = metrics["seconds_taken"]
    print(f"dev WER {metrics['wer']:.2%}, CER {metrics['cer']:.2%} at update {metrics['best_update']}; {seconds:.0f} s")
    print(f"{job.out}/recogniser is ready: sigssl transcribe FILES --model {job.out} --out DIR")
    return 0
