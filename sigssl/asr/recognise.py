"""From recordings to transcripts: short ones in batches, long ones streamed and searched piece by piece as log-probs come."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sigssl.asr.assembly import Assembly
from sigssl.asr.decode import Decoder, DecodeSettings, Part
from sigssl.asr.examples import frames_of
from sigssl.asr.pieces import pieces_of
from sigssl.asr.recogniser import Piece, Recogniser, load_recogniser
from sigssl.asr.store import NAME, TOKENS
from sigssl.asr.tokens import Tokens
from sigssl.asr.transcript import Transcript
from sigssl.data.ark import StoreInfo
from sigssl.data.io import write_table
from sigssl.errors import UserError
from sigssl.extract.reading import Clip, Reading, ahead, batches, gather, read_clips
from sigssl.extract.reading import padded as padded_clips
from sigssl.extract.shards import Bad, Entry, Shard
from sigssl.extract.store import ArkSink

TOGETHER = 8  # pieces that are searched together
HELD = 4  # batches' worth of signal that is gathered, so that each is of like length


class Transcribed(NamedTuple):
    """What came of some recordings: transcripts, what was set aside, and where log-probabilities were put."""

    part: Part
    entries: list[Entry]


@dataclass(frozen=True)
class TranscribeJob:
    """Transcribes a shard of recordings; picklable.

    Attributes:
        model: folder of the recogniser.
        settings: of the search.
        reading: how recordings are read.
        device: where the model computes.
        batch_seconds: signal in a batch, padding included.
        logprobs: folder for log-probabilities; "" keeps none.
    """

    model: str
    settings: DecodeSettings
    reading: Reading
    device: str
    batch_seconds: float
    logprobs: str = ""

    def ready(self) -> tuple[Recogniser, Decoder]:
        """The recogniser and the search; read when first asked for in a process, and kept."""
        return _ready(self.model, self.device, tuple(asdict(self.settings).items()))

    def __call__(self, shard: Shard) -> Transcribed:
        """Do a shard."""
        recogniser, decoder = self.ready()
        sink = ArkSink(Path(self.logprobs), NAME, shard.number) if self.logprobs else None
        with sink or nullcontext():
            work = Transcriber(recogniser, decoder, sink)
            for held in ahead(gather(read_clips(shard.utterances, self.reading), HELD * self.batch_seconds)):
                work.bad += [(one.id, one.file, one.reason) for one in held if isinstance(one, Bad)]
                clips = work.usable(one for one in held if isinstance(one, Clip))
                for some in batches([clip for clip in clips if clip.held], round(self.batch_seconds * recogniser.sample_rate)):
                    work.batch(some)
                for clip in clips:
                    if not clip.held:
                        work.long(clip)
        return Transcribed(Part(work.transcripts, work.bad), sink.entries if sink else [])


class Transcriber:
    """A recogniser and a search at work.

    Args:
        recogniser: in eval mode.
        decoder: of its tokens.
        sink: for log-probabilities; None keeps none.

    Attributes:
        transcripts: what was found.
        bad: id, file and reason of what was set aside.
    """

    def __init__(self, recogniser: Recogniser, decoder: Decoder, sink: ArkSink | None = None) -> None:
        self.recogniser, self.decoder, self.sink = recogniser, decoder, sink
        self.longest = max(round(decoder.settings.longest / recogniser.frame_shift), 1)
        self.transcripts: list[Transcript] = []
        self.bad: list[tuple[str, str, str]] = []

    def usable(self, clips: Iterable[Clip]) -> list[Clip]:
        """The clips that are long enough for a frame; the others are set aside."""
        rate, kept = self.recogniser.sample_rate, []
        for clip in clips:
            if frames_of(self.recogniser.encoder, round(clip.seconds * rate)) < 1:
                self.bad.append((clip.id, clip.path, f"{clip.seconds:.3f} s are too short for one frame"))
            else:
                kept.append(clip)
        return kept

    def batch(self, clips: list[Clip]) -> None:
        """Transcribe clips that are in memory."""
        signals, lengths = padded_clips(clips)
        device = self.recogniser.device
        with torch.inference_mode():
            heard = self.recogniser(signals[:, None].to(device), lengths.to(device))
        rows, memory = heard.log_probs.float().cpu(), heard.memory.cpu()
        pieces = [Piece(rows[item, :count], memory[item, :count]) for item, count in enumerate(heard.lengths.tolist())]
        cut = [(item, part) for item, piece in enumerate(pieces) for part in pieces_of([piece], self.longest)]
        assemblies = [self._assembly() for _ in clips]
        self._search(((assemblies[item], part) for item, part in cut))
        for clip, piece, assembly in zip(clips, pieces, assemblies, strict=True):
            if self.sink:
                self.sink.write(clip.id, [[piece.log_probs.numpy()]])
            self.transcripts.append(assembly.transcript(clip.id))

    def long(self, clip: Clip) -> None:
        """Transcribe a clip by streaming it; one that breaks off is set aside."""
        assembly = self._assembly()
        kept = _Kept(self.recogniser.pieces(clip.tensors), self.decoder.needs_memory)
        search = self._search_slowly((assembly, part) for part in pieces_of(kept, self.longest))
        try:
            if self.sink:
                self.sink.write(clip.id, ([piece.log_probs.numpy()] for piece in kept.passing(search)))
            else:
                for _ in search:
                    kept.seen.clear()
        except (UserError, OSError) as error:
            self.bad.append((clip.id, clip.path, str(error)))
            return
        self.transcripts.append(assembly.transcript(clip.id))

    def _assembly(self) -> Assembly:
        return self.decoder.assembly(self.recogniser.frame_shift)

    def _search(self, parts: Iterable[tuple[Assembly, Piece]]) -> None:
        for _ in self._search_slowly(parts):
            pass

    def _search_slowly(self, parts: Iterable[tuple[Assembly, Piece]]) -> Iterator[None]:
        """Search pieces some at a time; comes up for air after each lot."""
        waiting = iter(parts)
        while some := list(itertools.islice(waiting, TOGETHER)):
            for (assembly, part), found in zip(some, self.decoder.search_pieces([part for _, part in some]), strict=True):
                assembly.add(part.log_probs, found)
            yield


class _Kept:
    """An iterator that remembers the log-probabilities that have passed until they are taken from `seen`."""

    def __init__(self, pieces: Iterable[Piece], memory: bool) -> None:
        self._pieces, self._memory = pieces, memory
        self.seen: list[Piece] = []

    def __iter__(self) -> Iterator[Piece]:
        for piece in self._pieces:
            rows = piece.log_probs.float().cpu()
            self.seen.append(Piece(rows, rows[:, :0]))
            yield Piece(rows, piece.memory if self._memory else rows[:, :0])

    def passing(self, drive: Iterator[None]) -> Iterator[Piece]:
        """What passes while `drive` runs."""
        for _ in drive:
            yield from self.seen
            self.seen.clear()
        yield from self.seen


def finish_logprobs(folder: Path, recogniser_tokens: Tokens, entries: Sequence[Entry], about: dict[str, Any]) -> None:
    """Join the shards' arks to a store that `sigssl decode` reads.

    Args:
        folder: where the arks are.
        recogniser_tokens: what the columns are.
        entries: of all shards.
        about: frame_shift, sample_rate, and what else is to be on record.
    """
    recogniser_tokens.save(folder / TOKENS)
    facts = (float(about["frame_shift"]), int(about["sample_rate"]))
    StoreInfo(NAME, len(recogniser_tokens), *facts, "ln probability", {"model": str(about["model"])}).write(folder, NAME)
    write_table(folder / f"{NAME}.scp", {entry.id: f"{folder.resolve()}/{entry.places[0]}" for entry in entries})


@functools.lru_cache(maxsize=1)
def _ready(model: str, device: str, settings: tuple[tuple[str, Any], ...]) -> tuple[Recogniser, Decoder]:
    """The recogniser and the search, read once by each process."""
    recogniser = load_recogniser(model).to(device)
    return recogniser, Decoder(recogniser.tokens, DecodeSettings(**dict(settings)), recogniser.head)
