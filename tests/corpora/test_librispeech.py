"""LibriSpeech from a tree of its shape, and its download from a server of our own that breaks off."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sigssl.corpora import librispeech, mini_librispeech
from sigssl.corpora.download import Archive, download, fetch, md5, unpack
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

Noise = Callable[..., Path]


def plant(root: Path, noise: Noise, subsets: tuple[str, ...] = ("train-clean-5", "dev-clean-2")) -> Path:
    """A LibriSpeech tree: two readers with a chapter each, two utterances per chapter."""
    for subset in subsets:
        for reader, chapter in (("19", "198"), ("1088", "134315")):
            folder = root / "LibriSpeech" / subset / reader / chapter
            names = [f"{reader}-{chapter}-{n:04d}" for n in range(2)]
            for name in names:
                noise(folder / f"{name}.flac", 0.2, 16000)
            (folder / f"{reader}-{chapter}.trans.txt").write_text("".join(f"{name} HE BEGAN {name[-1]}\n" for name in names))
    (root / "LibriSpeech" / "SPEAKERS.TXT").write_text("; readers\n")
    return root


@pytest.mark.parametrize("inside", [True, False])
def test_published_tree(tmp_path: Path, noise: Noise, check: Callable[[dict[str, DataDir]], None], inside: bool) -> None:
    root = plant(tmp_path, noise)
    made = librispeech.prepare(root / "LibriSpeech" if inside else root, tmp_path / "out")
    check(made)
    assert list(made) == ["train-clean-5", "dev-clean-2"]
    assert made["dev-clean-2"].utt2spk["1088-134315-0001"] == "1088"
    assert made["dev-clean-2"].text["19-198-0001"] == "HE BEGAN 1"
    assert list(mini_librispeech.prepare(root, tmp_path / "out")) == ["train-clean-5", "dev-clean-2"]


def test_what_is_lacking_is_said(tmp_path: Path, noise: Noise) -> None:
    root = plant(tmp_path, noise, ("dev-clean",))
    with pytest.raises(UserError, match=r"lacks train-clean-100; .*--download.*CC BY 4.0.*6387 MB"):
        librispeech.prepare(root, tmp_path / "out", subsets="train-clean-100,dev-clean")
    with pytest.raises(UserError, match=r"no subset 'dev_clean'. Did you mean 'dev-clean'"):
        librispeech.prepare(root, tmp_path / "out", subsets="dev_clean")
    with pytest.raises(UserError, match="lacks any subset"):
        librispeech.prepare(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(UserError, match="needs --root"):
        librispeech.prepare(None, tmp_path / "out")


class Server(http.server.ThreadingHTTPServer):
    """Serves one archive, in ranges; the first `breaks` answers stop halfway."""

    data = b""
    breaks = 0
    ranges: list[str | None]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if self.path != "/mini.tar.gz":
            return self.send_error(404)
        if start >= len(self.server.data):
            return self.send_error(416)
        body = self.server.data[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, noise: Noise) -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.ranges = []
    made.data = packed(plant(tmp_path / "origin", noise, ("dev-clean-2",)))
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def packed(root: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(root / "LibriSpeech", "LibriSpeech")
    return buffer.getvalue()


def published(server: Server, path: str = "mini.tar.gz") -> Archive:
    url = f"http://127.0.0.1:{server.server_address[1]}/{path}"
    return Archive(url, hashlib.md5(server.data, usedforsecurity=False).hexdigest(), 0)


def test_download_unpack_prepare(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(librispeech.ARCHIVES, "dev-clean-2", published(server))
    root = tmp_path / "root" / "LibriSpeech"
    made = librispeech.prepare(root, tmp_path / "out", subsets="dev-clean-2", download=True)
    assert len(made["dev-clean-2"]) == 4
    assert sorted(p.name for p in root.iterdir()) == ["SPEAKERS.TXT", "dev-clean-2"]
    assert [p.name for p in root.parent.iterdir()] == ["LibriSpeech"], "neither archive nor remains of unpacking"
    librispeech.prepare(root, tmp_path / "out", subsets="dev-clean-2", download=True)
    assert len(server.ranges) == 1, "what is there is not fetched again"


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.breaks, half = 1, len(server.data) // 2
    target = tmp_path / "mini.tar.gz"
    with pytest.raises(UserError, match=r"bytes early.*run the same command again"):
        download(published(server), target)
    assert not target.exists() and (tmp_path / "mini.tar.gz.part").stat().st_size == half
    download(published(server), target)
    assert server.ranges == [None, f"bytes={half}-"] and target.read_bytes() == server.data


def test_a_complete_part_is_checked_and_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "mini.tar.gz.part").write_bytes(server.data)
    download(published(server), tmp_path / "mini.tar.gz")
    assert (tmp_path / "mini.tar.gz").exists()


def test_a_wrong_sum_is_removed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"its MD5 is .* expected 0; removed"):
        download(published(server)._replace(md5="0"), tmp_path / "mini.tar.gz")
    assert list(tmp_path.glob("mini*")) == []


def test_refusals(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="answered 404"):
        download(published(server, "other.tar.gz"), tmp_path / "other.tar.gz")
    with pytest.raises(UserError, match="GB free"):
        fetch(published(server)._replace(megabytes=10**9), tmp_path, "LibriSpeech/dev-clean-2", "CC BY 4.0")
    with pytest.raises(UserError, match="Check the connection"):
        download(Archive("http://127.0.0.1:1/a.tar.gz", "0", 0), tmp_path / "a.tar.gz")


@pytest.mark.parametrize("name", ["../evil", "/evil"])
def test_archives_do_not_reach_out_of_their_folder(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(UserError, match="unsafe entry"):
        unpack(tmp_path / "a.tar", tmp_path / "into", "x") if (tmp_path / "into").mkdir() is None else None
    assert not list((tmp_path / "into").iterdir()) and not (tmp_path / "evil").exists()


def test_archives_that_are_none_or_lack_the_folder(tmp_path: Path, noise: Noise) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"<html>")
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(tmp_path / "a.tar.gz", tmp_path, "x")
    (tmp_path / "b.tar.gz").write_bytes(packed(plant(tmp_path / "tree", noise, ("dev-clean",))))
    with pytest.raises(UserError, match="holds no folder LibriSpeech/test-clean"):
        unpack(tmp_path / "b.tar.gz", tmp_path, "LibriSpeech/test-clean")
    assert len(md5(tmp_path / "b.tar.gz")) == 32
