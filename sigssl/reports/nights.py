"""A folder of recordings, staged: night by night, past bad files, from where an earlier run stopped; then the report of all."""

from __future__ import annotations

import functools
import gc
import hashlib
import json
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from sigssl.data.io import read_json, write_json, write_text
from sigssl.downstream.agreement import NightPair, agreement
from sigssl.downstream.night import Window, around_sleep
from sigssl.downstream.sleep_statistics import UNITS
from sigssl.downstream.stager import Stager, load_stager, stager_folder, stager_meta
from sigssl.downstream.staging import StagingSettings, stage_recording
from sigssl.errors import UserError
from sigssl.extract.parallel import in_threads, in_workers
from sigssl.reports.agreement import BLAND_ALTMAN, CONFUSION, draw_bland_altman, draw_confusion
from sigssl.reports.night_figure import draw_night
from sigssl.reports.night_files import STATISTICS, summary, write_files
from sigssl.reports.night_page import FIGURE, night_page
from sigssl.reports.nights_page import nights_page

FAILED = "failed.tsv"
KEY = "key"  # in statistics.json: what the night's result depended on


class Recording(NamedTuple):
    """One recording to stage: name of the night, file, its reference ("" for none), and the person."""

    name: str
    path: str
    reference: str = ""
    person: str = ""


class Outcome(NamedTuple):
    """What became of a recording: an empty reason is success; `new` unless it was found done."""

    name: str
    path: str
    reason: str = ""
    new: bool = True


@dataclass(frozen=True)
class NightJob:
    """Stages one recording and writes its folder; a callable that worker processes can be given.

    Attributes:
        model: name or folder of the stager.
        settings: how.
        out: the report's folder; the night's is in it.
        device: torch device.
        figure: whether figures are drawn.
    """

    model: str
    settings: StagingSettings
    out: str
    device: str = "cpu"
    figure: bool = True

    def __call__(self, recording: Recording) -> Outcome:
        """Stage it; whatever is wrong with it is its reason and never stops the others."""
        try:
            new = self.stage(recording)
        except UserError as error:
            return Outcome(recording.name, recording.path, " ".join(str(error).split()))
        except Exception as error:  # one file must not end a night's batch; the reason says that it is ours to mend
            traceback.print_exc()
            told = f"a defect of sigssl, please report it: {type(error).__name__}: {error}"
            return Outcome(recording.name, recording.path, " ".join(told.split()))
        return Outcome(recording.name, recording.path, new=new)

    def stage(self, recording: Recording) -> bool:
        """Stage it unless its folder is done for the same file, model and settings; whether it was staged now.

        Raises:
            UserError: see :func:`sigssl.downstream.staging.stage_recording`.
        """
        stager, model = loaded(self.model, self.device)
        folder, key = Path(self.out) / recording.name, self.key(recording, model)
        if _is_done(folder, key, self.figure):
            return False
        night = stage_recording(
            recording.path,
            stager,
            self.settings,
            name=recording.name,
            model=model,
            reference=recording.reference or None,
            figure=self.figure,
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STATISTICS).unlink(missing_ok=True)  # written last: a folder without it is not done
        review = write_files(night, folder, self.settings.review_below)
        if self.figure:
            draw_night(night, folder / FIGURE)
            gc.collect()  # a figure refers to itself: left alone, those of several nights would wait in memory together
        facts = summary(night, self.settings.review_below, review) | {"person": recording.person or recording.name, KEY: key}
        facts["reference_hypnogram"] = night.reference
        write_text(folder / "index.html", night_page(facts, review, self.figure))
        write_json(folder / STATISTICS, facts)
        return True

    def key(self, recording: Recording, model: dict[str, Any]) -> str:
        """A digest of what the result depends on."""
        files = [_stamp(path) for path in (recording.path, recording.reference) if path]
        plain = [files, model.get("fingerprint"), asdict(self.settings), recording.person]
        return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]


@functools.cache
def loaded(name: str, device: str) -> tuple[Stager, dict[str, Any]]:
    """A stager in eval mode on a device, once per process, and what is kept of it in each result."""
    folder, meta = stager_folder(name), stager_meta(name)
    digest = hashlib.sha256()
    for file in ("config.yaml", "model.safetensors"):
        digest.update((folder / file).read_bytes())
    facts = {"name": Path(name).resolve().name if "/" in name else name, "fingerprint": digest.hexdigest()[:16]}
    return load_stager(name).to(device).eval(), facts | {"split_hash": meta.get("split_hash"), "meta": meta}


@dataclass
class Result:
    """A batch: outcomes in the order of the recordings, the page of all."""

    outcomes: list[Outcome] = field(default_factory=list)
    page: Path = Path()

    @property
    def failed(self) -> list[Outcome]:
        """Those that could not be staged."""
        return [outcome for outcome in self.outcomes if outcome.reason]


def stage_nights(
    recordings: Sequence[Recording], job: NightJob, *, nj: int = 1, bar: str = "", told: Callable[[str], None] | None = None
) -> Result:
    """Stage recordings into a folder: a folder for each, index.html, summary.tsv, agreement.json, failed.tsv.

    Args:
        recordings: what to stage, with unique names.
        job: how and where to.
        nj: worker processes.
        bar: title of the progress bar; "" shows none.
        told: called with a line for each recording that fails, as it fails.

    Raises:
        UserError: no such stager, or a setting that no recording could satisfy; a worker process died.
    """
    stager, _ = loaded(job.model, job.device)
    if job.settings.causal:
        stager.stream()  # says so at once where the model needs the whole night
    out = Path(job.out)
    out.mkdir(parents=True, exist_ok=True)
    done: dict[str, Outcome] = {}
    with tqdm(total=len(recordings), desc=bar, unit="night", disable=not bar, dynamic_ncols=True) as progress:
        for outcome in _run(recordings, job, nj):
            done[outcome.name] = outcome
            progress.update()
            if outcome.reason and told:
                told(f"{outcome.name}: not staged: {outcome.reason}")
    result = Result([done[recording.name] for recording in recordings])
    result.page = write_report(out, result.outcomes)
    return result


def write_report(out: Path, outcomes: Sequence[Outcome]) -> Path:
    """The files over all nights of a batch, from the nights' own.

    Args:
        out: folder of the nights.
        outcomes: of the batch.

    Returns:
        The page.
    """
    nights = [read_json(out / outcome.name / STATISTICS) for outcome in outcomes if not outcome.reason]
    failed = [(outcome.name, outcome.path, outcome.reason) for outcome in outcomes if outcome.reason]
    _write_failed(out / FAILED, failed)
    write_text(out / "summary.tsv", summary_tsv(nights))
    pairs = [pair for pair in map(pair_of, nights) if pair is not None]
    found, figures = (agreement(pairs), set[str]()) if pairs else (None, set[str]())
    for name in ("agreement.json", CONFUSION, BLAND_ALTMAN):
        (out / name).unlink(missing_ok=True)
    if found:
        write_json(out / "agreement.json", found)
        draw_confusion(found, out / CONFUSION, ("reference", "sigssl"))
        figures.add(CONFUSION)
        if draw_bland_altman(found, out / BLAND_ALTMAN):
            figures.add(BLAND_ALTMAN)
    write_text(out / "index.html", nights_page(nights, failed, found, figures))
    return out / "index.html"


def pair_of(facts: dict[str, Any]) -> NightPair | None:
    """Reference and result of a night, from its statistics.json; None where there is no reference."""
    reference = facts.get("reference_hypnogram")
    if reference is None:
        return None
    window = Window(
        facts["window"]["first_epoch"], facts["window"]["first_epoch"] + facts["window"]["epochs"], facts["window"]["rule"]
    )
    if not window.rule.startswith("lights"):
        window = around_sleep(reference, facts["epoch_seconds"])
    part = slice(window.first, window.stop)
    return NightPair(facts["night"], facts["person"], reference[part], facts["hypnogram"][part], facts["epoch_seconds"])


def summary_tsv(nights: Sequence[dict[str, Any]]) -> str:
    """One line for each night: statistics, agreement where there is a reference, warnings; `n/a` where something is not defined."""
    header = ["night", "person", "recording", *UNITS, "confidence", "review", "kappa", "accuracy", "macro_f1", "warnings"]
    lines = ["\t".join(header)]
    for night in nights:
        own, sure = night["agreement"] or {}, (night["confidence"] or {}).get("mean")
        numbers = [night["statistics"][name] for name in UNITS] + [sure, night["review"]["epochs"]]
        numbers += [own.get(name) for name in ("kappa", "accuracy", "macro_f1")]
        cells = ["n/a" if number is None else f"{number:.6g}" for number in numbers]
        lines.append("\t".join([night["night"], night["person"], night["recording"], *cells, " ".join(night["warnings"]) or "n/a"]))
    return "\n".join(lines) + "\n"


def _run(recordings: Sequence[Recording], job: NightJob, nj: int) -> Iterator[Outcome]:
    doubled = [name for name, count in Counter(recording.name for recording in recordings).items() if count > 1]
    assert not doubled, f"names of nights are not unique: {doubled}"
    if nj <= 1:
        return map(job, recordings)
    return in_workers(functools.partial(in_threads, job, 1), recordings, min(nj, max(len(recordings), 1)))


def _is_done(folder: Path, key: str, figure: bool) -> bool:
    if not (folder / STATISTICS).is_file() or (figure and not (folder / FIGURE).is_file()):
        return False
    try:
        return bool(read_json(folder / STATISTICS).get(KEY) == key)
    except UserError:
        return False


def _stamp(path: str) -> list[Any]:
    """A file's name, size and time of change; what cannot be looked at is for the reader to complain of."""
    try:
        found = Path(path).stat()
    except OSError:
        return [path]
    return [path, found.st_size, found.st_mtime_ns]


def _write_failed(path: Path, failed: Sequence[tuple[str, str, str]]) -> None:
    if failed:
        write_text(
            path, "night\tfile\treason\n" + "".join("\t".join(" ".join(cell.split()) for cell in row) + "\n" for row in failed)
        )
    else:
        path.unlink(missing_ok=True)
