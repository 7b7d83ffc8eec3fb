"""Fetch an archive once: resumed where it broke off, checked by MD5, unpacked whole or not at all."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from sigssl.errors import UserError

log = logging.getLogger(__name__)
BLOCK = 1 << 20
RANGE_NOT_SATISFIABLE = 416  # what a server answers when the part is complete already


class Archive(NamedTuple):
    """A published archive: where it is, its MD5 sum, and about how many megabytes to expect."""

    url: str
    md5: str
    megabytes: int


def fetch(archive: Archive, folder: Path, member: str, licence: str, keep: bool = False) -> Path:
    """Download and unpack, so that `folder/member` exists.

    Args:
        archive: what to fetch.
        folder: where to; the archive lies beside the result meanwhile.
        member: the folder inside the archive that is wanted.
        licence: shown before anything is fetched.
        keep: keep the archive.

    Returns:
        `folder/member`.

    Raises:
        UserError: no connection, no room, a wrong MD5 sum, or an archive that lacks `member`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / archive.url.rsplit("/", 1)[-1]
    log.warning("%s: %d MB, MD5 %s, licence %s, into %s", archive.url, archive.megabytes, archive.md5, licence, folder)
    free, need = shutil.disk_usage(folder).free / 1e9, 2.2e-3 * archive.megabytes
    if free < need:
        raise UserError(
            f"{folder}: {free:.1f} GB free; {target.name} and its content need {need:.1f} GB. Make room or change --root."
        )
    if not target.exists():
        download(archive, target)
    unpack(target, folder, member)
    if not keep:
        target.unlink()
    return folder / member


def download(archive: Archive, target: Path) -> None:
    """Write the archive to `target`, by way of `target.part`, which a later call continues.

    Raises:
        UserError: the server cannot be reached, refuses or closes early; the MD5 sum differs (the part is removed then).
    """
    part = target.with_name(f"{target.name}.part")
    try:
        receive(archive.url, part)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != RANGE_NOT_SATISFIABLE:
            raise UserError(f"{archive.url}: the server answered {error.code} {error.reason}. Try again later.") from None
    except (urllib.error.URLError, HTTPException, OSError) as error:
        kept = part.stat().st_size / 1e6 if part.exists() else 0.0
        raise UserError(
            f"{archive.url}: {error}. {kept:.0f} MB are kept in {part}. Check the connection and run the same command again."
        ) from error
    found = md5(part)
    if found != archive.md5:
        part.unlink()
        raise UserError(f"{part}: its MD5 is {found}, expected {archive.md5}; removed. Run the same command again.")
    part.replace(target)


def receive(url: str, part: Path) -> None:
    """Append to `part` what it lacks of `url`; from the start where the server cannot resume.

    Raises:
        OSError: no connection, or it closed before the announced end.
    """
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        done = done if answer.status == 206 else 0
        total = done + int(answer.headers.get("Content-Length", 0))
        with (
            part.open("ab" if done else "wb") as file,
            tqdm(desc=part.stem, initial=done, total=total, unit="B", unit_scale=True) as bar,
        ):
            while block := answer.read(BLOCK):
                bar.update(file.write(block))
            if file.tell() < total:
                raise OSError(f"the connection closed {total - file.tell()} bytes early")


def md5(path: Path) -> str:
    """A file's MD5 sum, read in blocks."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def unpack(path: Path, folder: Path, member: str) -> None:
    """Unpack `path` aside, then move the parts of it into `folder` that are not there yet, `member` last.

    A kill in between leaves no `folder/member`, so the next run unpacks again. Links, devices and paths that lead out of the
    folder are refused (tarfile's data filter, or our own check where Python lacks it).

    Raises:
        UserError: not a readable archive, an unsafe entry, or no `member` in it.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{path.name}.") as name:
        aside = Path(name)
        try:
            with tarfile.open(path) as archive:
                archive.extractall(aside, members=[safe(path, entry) for entry in archive])
        except (tarfile.TarError, EOFError) as error:
            raise UserError(f"{path}: cannot be unpacked: {error}. Remove it and run the same command again.") from error
        if not (aside / member).is_dir():
            raise UserError(f"{path}: holds no folder {member}. Remove it and run the same command again.")
        top = (folder / member).parent
        top.mkdir(parents=True, exist_ok=True)
        for extra in sorted((aside / member).parent.iterdir()):  # licence, SPEAKERS.TXT and the like
            if not (top / extra.name).exists() and extra.name != Path(member).name:
                extra.rename(top / extra.name)
        (aside / member).rename(folder / member)


def safe(path: Path, entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The entry, with plain rights, if it is a file or folder inside the archive's own tree (UserError otherwise)."""
    parts = Path(entry.name).parts
    if not (entry.isfile() or entry.isdir()) or ".." in parts or Path(entry.name).is_absolute():
        raise UserError(f"{path}: unsafe entry {entry.name!r}; nothing was unpacked.")
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry
