"""`REPORT.md` of an experiment folder: a section for everything that it holds, each with its table and figures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sigssl import __version__
from sigssl.data.io import read_json, write_text
from sigssl.data.store import StoreInfo
from sigssl.downstream.summary import KIND
from sigssl.errors import UserError
from sigssl.reports.asr import KIND as KIND_ASR
from sigssl.reports.asr_arms import asr_section
from sigssl.reports.pretraining import Run, draw_curves, read_run, table
from sigssl.reports.probe import draw, probe_page
from sigssl.reports.reconstruction import draw_reconstruction
from sigssl.reports.tables import markdown

PAGE = "REPORT.md"


def write_report(folder: Path, out: Path) -> Path:
    """Collect what a folder holds.

    Args:
        folder: an experiment folder, `exp/mini`; searched with its subfolders.
        out: where REPORT.md and its figures go; not searched.

    Returns:
        The page.

    Raises:
        UserError: no such folder, or nothing in it that a report could be made of.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name one that holds runs, probes or feature stores.")
    out.mkdir(parents=True, exist_ok=True)
    sections = [*_pretraining(folder, out), *_probes(folder, out), *_recognition(folder, out), *_stores(folder, out)]
    if not sections:
        raise UserError(
            f"{folder}: holds no run (metrics.jsonl), no probe or score (metrics.json) and no feature store to report on."
        )
    title = f"# Report of {folder.resolve().name if folder.name in ('', '.', 'exp') else folder}\n\n"
    page = title + "\n".join(sections) + f"\n---\nsigssl {__version__}\n"
    write_text(out / PAGE, page)
    return out / PAGE


def _pretraining(folder: Path, out: Path) -> Iterator[str]:
    runs = [read_run(path.parent, _name(path.parent, folder)) for path in _files(folder, out, "metrics.jsonl")]
    runs = [run for run in runs if not any("blank_ratio" in row for row in run.rows)]  # those are recognisers
    if not runs:
        return
    text = "## Pretraining\n\n" + table(runs)
    if draw_curves(runs, out / "loss.png"):
        text += "\n![Loss by update](loss.png)\n"
    yield text + _reconstruction(runs, out)


def _reconstruction(runs: list[Run], out: Path) -> str:
    """The reconstruction of the first run that has one; where its data or checkpoint are gone, a sentence that says so."""
    lost = ""
    for run in runs:
        if not run.config.get("data") or not any((run.folder / "checkpoints").glob("*.ckpt")):
            continue
        try:
            caption = draw_reconstruction(run.folder, run.config, out / "reconstruction.png")
        except UserError as error:
            lost = lost or f"\nNo reconstruction is shown: {error}\n"
            continue
        if caption is not None:
            return f"\n## Reconstruction\n\n![Original, altered, reconstructed](reconstruction.png)\n\n*{run.name}: {caption}*\n"
    return lost


def _probes(folder: Path, out: Path) -> Iterator[str]:
    for path in _files(folder, out, "metrics.json"):
        metrics: dict[str, Any] = read_json(path)
        if metrics.get("kind") != KIND:
            continue
        name = _name(path.parent, folder)
        figures = out / name
        figures.mkdir(parents=True, exist_ok=True)
        draw(metrics, figures)
        page = probe_page(metrics, folder=name, present=figures)
        yield page.replace("# Probe: ", f"## Probe {name}: ", 1)


def _recognition(folder: Path, out: Path) -> Iterator[str]:
    scores = [read_json(path) for path in _files(folder, out, "metrics.json")]
    scores = [score for score in scores if score.get("kind") == KIND_ASR]
    if scores:
        yield "## Speech recognition\n\n" + asr_section(scores, out)


def _stores(folder: Path, out: Path) -> Iterator[str]:
    lines = []
    for name in ("feats", "emb"):
        for path in _files(folder, out, f"{name}.json"):
            info = StoreInfo.read(path.parent, name)
            shift = "–" if info.frame_shift is None else f"{1000 * info.frame_shift:g}"
            lines.append([_name(path.parent, folder), info.kind, str(_count(path)), str(info.dim), shift, info.unit or "–"])
    if lines:
        header = ["folder", "what", "utterances", "width", "frame shift (ms)", "unit"]
        yield "## Stored features and embeddings\n\n" + markdown(header, lines, words=2)


def _count(info: Path) -> int | str:
    """Utterances of a store: lines of its scp, or of ids.txt where it is one array."""
    for file in (info.with_suffix(".scp"), info.parent / "ids.txt"):
        if file.is_file():
            with file.open("rb") as lines:
                return sum(1 for _ in lines)
    return "–"


def _files(folder: Path, out: Path, name: str) -> list[Path]:
    """Files of a name below `folder`, sorted; hidden folders, checkpoints and the report's own are passed over."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".") and (Path(place) / f).resolve() != out.resolve()]
        if name in files:
            found.append(Path(place) / name)
    return sorted(found)


def _name(path: Path, folder: Path) -> str:
    relative = path.relative_to(folder).as_posix()
    return path.resolve().name if relative == "." else relative
