"""`sigssl lhotse from`: lhotse's cuts, recordings or Shar as a data directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from sigssl.cli.common import make_parser, parse


def main(argv: Sequence[str]) -> int:
    """Run the verb; exit code 0."""
    parser = make_parser(
        "lhotse from",
        "Write lhotse's cuts as a data directory: recordings, segments, speakers, texts, languages, genders, and a custom field as "
        "label. Audio stays where it is, also in the tar files of Shar; cuts that no file holds as they are (mixed, padded, "
        "perturbed) need --audio write.",
        "sigssl lhotse from train_recordings.jsonl.gz data/train --supervisions train_supervisions.jsonl.gz",
    )
    add = parser.add_argument
    add("source", type=str, help="manifest of cuts or of recordings, or a folder of Shar")
    add("out", type=str, help="data directory to write")
    add("--supervisions", type=str | None, default=None, help="manifest of supervisions, where the source has recordings")
    add("--per", type=Literal["cut", "supervision"], default="cut", help="what becomes an utterance")
    add(
        "--audio",
        type=Literal["link", "write"],
        default="link",
        help="refer to the files, or render every cut to OUT/audio/ID.flac",
    )
    add("--label", type=str, default="label", help="custom field that becomes utt2label")
    add("--feats", action="store_true", help="copy the cuts' features to OUT/feats (with --per cut)")
    args = parse(parser, argv)

    from sigssl.data.shar import read_shar, shar_folder
    from sigssl.interop.lhotse_import import from_lhotse, open_cuts

    shar = shar_folder(args.source)
    if shar is not None and args.audio == "link" and args.per == "cut" and not args.feats:
        data = read_shar(shar, args.label)
        data.write(args.out)
        print(f"{args.out}: {len(data)} utterances, {len(set(data.utt2spk.values()))} speakers; audio stays in {shar}")
        return 0
    cuts = open_cuts(Path(args.source), Path(args.supervisions) if args.supervisions else None)
    made = from_lhotse(cuts, Path(args.out), per=args.per, audio=args.audio, label=args.label, feats=args.feats)
    made.data.write()
    seconds = sum(made.data.utt2dur.values())
    print(f"{args.out}: {len(made.data)} utterances, {len(set(made.data.utt2spk.values()))} speakers, {seconds / 3600:.2f} h")
    for note, count in made.notes.items():
        print(f"{note} ({count} utterances)")
    return 0
