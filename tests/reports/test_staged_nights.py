"""Folders of recordings: past bad files, resumed, in parallel, paired with references, and the report of all."""

from __future__ import annotations

import html.parser
import json
import os
from pathlib import Path

import pytest
from edf_files import hypnogram_edf
from sleep_stagers import recording, saved_stager

from sigssl.cli.main import main
from sigssl.errors import UserError
from sigssl.reports.recordings import find_recordings, night_names, pairing_key, person_of


class Page(html.parser.HTMLParser):
    """Links, pictures, and whether tags are closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [str(found[name]) for name in ("href", "src") if found.get(name) and not str(found[name]).startswith("data:")]
        if tag == "img":
            assert found.get("alt"), "a picture without words"
        if tag not in ("meta", "link", "img", "br", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag, tag


def check_page(path: Path) -> Page:
    page = Page(path)
    assert not page.open and page.text.startswith("<!doctype html>") and "<html lang" in page.text
    for where in page.links:
        assert (path.parent / where).exists(), f"{path}: {where} is not there"
    assert "http" not in page.text.replace("http-equiv", "")
    return page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("staging")
    (root / "in").mkdir()
    for name, minutes in (("SC4001E0-PSG", 20.0), ("SC4011E0-PSG", 15.0)):
        recording(root / "in" / f"{name}.edf", minutes)
    hypnogram_edf(root / "in" / "SC4001EC-Hypnogram.edf", [(0, 300, "Sleep stage W"), (300, 1200, "Sleep stage 2")])
    hypnogram_edf(root / "in" / "SC4011EH-Hypnogram.edf", [(0, 600, "Sleep stage W"), (600, 300, "Sleep stage R")])
    (root / "in" / "broken.edf").write_bytes(b"0       " + b" " * 100)
    saved_stager(root / "bimamba")
    saved_stager(root / "mamba", "mamba")
    return root


def run(folder: Path, out: str, *more: str, model: str = "bimamba") -> int:
    return main(["stage", str(folder / "in"), "--model", str(folder / model), "--out", str(folder / out), *more])


def test_one_broken_file_of_three(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "out", "--reference", str(folder / "in")) == 1
    told = capsys.readouterr()
    assert "2 of 3 recordings staged" in told.out and "no medical device" in told.out and "kappa" in told.out
    assert "broken: not staged" in told.err
    failed = (folder / "out/failed.tsv").read_text().splitlines()
    assert failed[0] == "night\tfile\treason" and failed[1].startswith("broken\t") and len(failed) == 2
    names = {path.name for path in (folder / "out/SC4001E0-PSG").iterdir()}
    assert {"hypnogram.csv", "SC4001E0-PSG_events.tsv", "SC4001E0-PSG-hypnogram.edf", "statistics.json", "night.png"} <= names
    facts = json.loads((folder / "out/SC4001E0-PSG/statistics.json").read_text())
    assert facts["model"]["split_hash"] == "abc" and facts["agreement"]["epochs"] == 40 and facts["person"] == "SC400"
    found = json.loads((folder / "out/agreement.json").read_text())
    assert found["nights"] == 2 and found["persons"] == 2 and found["pooled"]["kappa"]["value"] is not None
    lines = [line.split("\t") for line in (folder / "out/summary.tsv").read_text().splitlines()]
    assert len(lines) == 3 and len({len(line) for line in lines}) == 1
    page = check_page(folder / "out/index.html")
    assert "SC4001E0-PSG/index.html" in page.links and "confusion.png" in page.links and "broken" in page.text
    for name in ("SC4001E0-PSG", "SC4011E0-PSG"):
        assert "night.png" in check_page(folder / "out" / name / "index.html").links


def test_the_same_command_does_only_what_is_not_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "again", "--figures", "false") == 1
    done = folder / "again/SC4001E0-PSG/statistics.json"
    before = done.stat().st_mtime_ns
    (folder / "again/SC4011E0-PSG/statistics.json").unlink()  # as after a kill: it is written last
    assert run(folder, "again", "--figures", "false") == 1
    assert "(1 of them by an earlier run)" in capsys.readouterr().out
    assert done.stat().st_mtime_ns == before
    assert run(folder, "again", "--figures", "false", "--window", "sleep") == 1  # other settings: staged anew
    assert done.stat().st_mtime_ns != before
    os.utime(folder / "in/SC4001E0-PSG.edf", (1, 1))
    capsys.readouterr()
    run(folder, "again", "--figures", "false", "--window", "sleep")
    assert "(1 of them by an earlier run)" in capsys.readouterr().out  # another file under the same name


def test_workers_and_a_causal_stream_give_the_same_files(folder: Path) -> None:
    for out, more in (("one", []), ("two", ["--nj", "2"]), ("stream", ["--causal"])):
        assert run(folder, out, "--figures", "false", *more, model="mamba") == 1
    one, two, stream = ((folder / out / "SC4001E0-PSG/hypnogram.csv").read_text() for out in ("one", "two", "stream"))
    assert one == two
    assert [line.split(",")[2] for line in one.splitlines()] == [line.split(",")[2] for line in stream.splitlines()]


def test_usage_errors_come_before_any_work(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "never", "--causal") == 2  # the bidirectional model needs the whole night
    assert run(folder, "never", model="nowhere") == 2
    assert run(folder, "never", "--reference", str(folder / "mamba")) == 2
    assert run(folder, "never", "--review-below", "3") == 2
    assert main(["stage", str(folder / "absent"), "--out", str(folder / "never")]) == 2
    assert main(["stage", str(folder / "mamba"), "--out", str(folder / "never")]) == 2
    assert not (folder / "never").exists()
    capsys.readouterr()


def test_hypnograms_in_the_folder_are_no_recordings(folder: Path) -> None:
    found, _ = find_recordings([str(folder / "in")])
    assert [one.name for one in found] == ["SC4001E0-PSG", "SC4011E0-PSG", "broken"]
    found, notes = find_recordings([str(folder / "in")], str(folder / "in"))
    assert [Path(one.reference).name for one in found] == ["SC4001EC-Hypnogram.edf", "SC4011EH-Hypnogram.edf", ""]
    assert len(notes) == 1 and "broken" in notes[0]


def test_names_are_unique_and_pairs_go_by_name(tmp_path: Path) -> None:
    paths = [tmp_path / "a/night.edf", tmp_path / "b/night.edf", tmp_path / "b/night.bdf", tmp_path / "c d.edf"]
    names = night_names(paths)
    assert len(set(names.values())) == 4 and names[paths[0]] == "a-night" and names[paths[3]] == "c_d"
    assert pairing_key("SC4001E0-PSG") == pairing_key("SC4001EC-Hypnogram") != pairing_key("SC4002EC-Hypnogram")
    assert pairing_key("shhs1-200001") == pairing_key("shhs1-200001-nsrr")
    assert pairing_key("sub-01_task-sleep_eeg") == pairing_key("sub-01_task-sleep_events")
    assert person_of(Path("SC4001E0-PSG.edf")) == person_of(Path("SC4002E0-PSG.edf")) == "SC400"
    assert person_of(Path("sub-07_ses-1_eeg.edf")) == "sub-07" and person_of(Path("x.edf")) == ""


def test_a_defect_is_the_files_reason_and_not_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sigssl.reports import nights

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("oh")

    monkeypatch.setattr(nights, "stage_recording", broken)
    assert run(folder, "defect", "--figures", "false") == 1
    assert "RuntimeError: oh" in (folder / "defect/failed.tsv").read_text()
    check_page(folder / "defect/index.html")
    capsys.readouterr()


def test_one_reference_for_many_recordings_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="one file"):
        find_recordings([str(folder / "in")], str(folder / "in/SC4001EC-Hypnogram.edf"))
