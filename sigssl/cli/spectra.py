"""`sigssl spectra`: the spectra and band powers of nights by stage, beside those of other nights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sigssl.cli.common import make_parser, parse


def main(argv: Sequence[str]) -> int:
    """Run the verb; exit code 0."""
    parser = make_parser(
        "spectra",
        "Draw the spectrum of each sleep stage, and with --bandpower the band powers too, beside those of other nights; with "
        "--bandpower a logistic regression on single epochs says how well the stages of either set are told from the other's.",
        "sigssl spectra data/nights/all --montage sleep_edf --beside data/dreams/all --beside-montage dreams --out exp/spectra",
    )
    add = parser.add_argument
    add("data", type=str, help="data directory of scored nights")
    add("--montage", type=str, default="sleep_edf", help="data set of channels.yaml, or a YAML file, that names the channels")
    add("--channel", type=str, default="Fpz-Cz", help="whose spectrum is drawn")
    add("--name", type=str, default="these nights", help="what to call them in the figures")
    add("--beside", type=str | None, default=None, help="data directory of other nights")
    add("--beside-montage", type=str, default="dreams", help="as --montage, of the other nights")
    add("--beside-channel", type=str, default="central", help="as --channel, of the other nights")
    add("--beside-name", type=str, default="other nights", help="what to call the other nights")
    add("--bandpower", type=str | None, default=None, help="folder of band powers: records.csv and records/*.npz")
    add("--bandpower-name", type=str, default="real nights", help="what to call those")
    add("--out", type=str, required=True, help="folder for spectra.png, powers.png, table.md and metrics.json")
    words = parse(parser, argv)
    from sigssl.data.datadir import DataDir
    from sigssl.data.io import write_json, write_text
    from sigssl.data.psg import Montage
    from sigssl.downstream.night_powers import powers, read_powers, spectra
    from sigssl.reports.night_spectra import draw_powers, draw_spectra, table

    out, data, montage = Path(words.out), DataDir.read(words.data), Montage.read(words.montage)
    sets = [spectra(data, montage, words.channel, words.name)]
    if words.beside is not None:
        beside = DataDir.read(words.beside), Montage.read(words.beside_montage)
        sets.append(spectra(*beside, words.beside_channel, words.beside_name))
    draw_spectra(sets, out / "spectra.png")
    if words.bandpower is not None:
        found = [powers(data, montage, words.name), read_powers(Path(words.bandpower), words.bandpower_name)]
        draw_powers(found, out / "powers.png")
        page, numbers = table(found)
        write_text(out / "table.md", page)
        write_json(out / "metrics.json", numbers)
        print(page)
    print(f"{out}: figures are written.")
    return 0
