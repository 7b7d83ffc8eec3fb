"""A recogniser: encoder, head and tokens; from signals to log-probabilities, whole or at bounded memory; its folder on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sigssl.asr.heads import Head, Heard
from sigssl.asr.store import TOKENS
from sigssl.asr.tokens import Tokens
from sigssl.config import build, describe
from sigssl.errors import UserError
from sigssl.training.checkpoint import CONFIG, WEIGHTS, load_weights, read_section, save_module

SECTION = "recogniser"  # of config.yaml, and the folder inside a run
CARD = "README.md"


class Piece(NamedTuple):
    """The next frames of a recording: ln P of tokens [t, V], and what an attention decoder reads [t, H]."""

    log_probs: Tensor
    memory: Tensor


class Recogniser(nn.Module):
    """Signals -> ln P of tokens.

    Inputs longer than `window` pass the head in windows that overlap, joined at the middle of the overlap (as FrameEncoder does
    below it), so that a long recording streamed and the same one at once give the same.

    Args:
        encoder: satisfies :class:`sigssl.types.Encoder`.
        head: states -> ln P.
        tokens: what the columns are.
        window: seconds; longest run of the head.
        overlap: seconds shared by neighbouring windows.

    Attributes:
        frame_shift: seconds from one row of log-probabilities to the next.
        sample_rate: hertz.

    Raises:
        UserError: parts that do not fit one another.
    """

    def __init__(self, encoder: nn.Module, head: Head, tokens: Tokens, window: float = 30.0, overlap: float = 4.0) -> None:
        super().__init__()
        if head.tokens != len(tokens):
            raise UserError(f"Recogniser: the head has {head.tokens} outputs, there are {len(tokens)} tokens.")
        if head.trunk.input_dim != encoder.dim:
            raise UserError(f"Recogniser: the encoder's states are {encoder.dim} wide, the head takes {head.trunk.input_dim}.")
        self.encoder, self.head, self.tokens, self.window, self.overlap = encoder, head, tokens, window, overlap
        self.sample_rate, self.hop = int(encoder.sample_rate), int(encoder.hop)  # type: ignore[arg-type]
        self.stack = head.trunk.frames
        self.frame_shift = self.hop * self.stack / self.sample_rate
        self._half = max(1, round(overlap / 2 / self.frame_shift))  # output frames
        self._window = max(2 * self._half + 1, round(window / self.frame_shift))
        if not 0 <= overlap < window:
            raise UserError(f"Recogniser: 0 <= overlap < window, in seconds; got overlap {overlap}, window {window}.")

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.head.output.weight.device

    def states(
        self, x: Float[Tensor, "batch 1 samples"], lengths: Int[Tensor, " batch"]
    ) -> tuple[list[Float[Tensor, "batch time dim"]], Int[Tensor, " batch"]]:
        """The hidden states that the head weighs [B, T, D], and the valid frames of each item."""
        states, frames = self.encoder(x, lengths)
        return self.head.mix.pick(states), frames

    def forward(self, x: Float[Tensor, "batch 1 samples"], lengths: Int[Tensor, " batch"]) -> Heard:
        """Log-probabilities and memory of a padded batch; items longer than `window` go through the head in windows."""
        states, frames = self.states(x, lengths)
        return self.hear(self.head.mix(states), frames)

    def hear(self, features: Float[Tensor, "batch time dim"], frames: Int[Tensor, " batch"]) -> Heard:
        """The head on mixed features; in windows, and then without gradients, where they are longer than `window`."""
        if features.shape[1] <= self._window * self.stack:
            return self.head(features, frames)
        pieces = [list(self._windows([row[:count]])) for row, count in zip(features, frames.tolist(), strict=True)]
        return Heard(
            nn.utils.rnn.pad_sequence([torch.cat([p.log_probs for p in some]) for some in pieces], batch_first=True),
            nn.utils.rnn.pad_sequence([torch.cat([p.memory for p in some]) for some in pieces], batch_first=True),
            self.head.trunk.count(frames),
        )

    def log_probs(
        self, x: Float[Tensor, "batch 1 samples"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch time tokens"], Int[Tensor, " batch"]]:
        """Ln P of tokens.

        Args:
            x: signals [B, 1, S] at `sample_rate`; what lies behind the lengths is ignored.
            lengths: valid samples.

        Returns:
            Rows [B, T, V] whose probabilities sum to 1, and how many of each item are valid.
        """
        heard = self(x, lengths)
        return heard.log_probs, heard.lengths

    def stream(self, blocks: Callable[[], Iterator[Float[Tensor, " samples"]]]) -> Iterator[Float[Tensor, "time tokens"]]:
        """Ln P of one recording of any length, piece by piece at bounded memory; joined they equal :meth:`log_probs`.

        Args:
            blocks: starts to read the recording from its beginning, in pieces [n] of any size; called again where the encoder's
                features need statistics of the whole recording first.
        """
        return (piece.log_probs for piece in self.pieces(blocks))

    def pieces(self, blocks: Callable[[], Iterator[Float[Tensor, " samples"]]]) -> Iterator[Piece]:
        """:meth:`stream`, with what an attention decoder reads."""
        return self._windows(self._features(blocks))

    def _features(self, blocks: Callable[[], Iterator[Tensor]]) -> Iterator[Tensor]:
        """Mixed features [t, D] of a recording."""
        if hasattr(self.encoder, "stream"):
            streamed: Iterable[list[Tensor]] = self.encoder.stream(blocks)  # type: ignore[operator]
        else:
            streamed = self._in_signal_windows(blocks())
        for states in streamed:
            with torch.no_grad():  # closed while this generator rests, or its reader would be in it too
                mixed = self.head.mix(self.head.mix.pick([state.to(self.device) for state in states]))
            yield mixed

    def _in_signal_windows(self, blocks: Iterable[Tensor]) -> Iterator[list[Tensor]]:
        """Hidden states by an encoder that cannot stream: of overlapping windows of the signal, joined in their middles."""
        half, size = self._half * self.stack, self._window * self.stack  # in frames of the encoder
        waiting, skip = torch.zeros(0), 0
        for block in blocks:
            waiting = torch.cat([waiting, block])
            while len(waiting) > size * self.hop:
                yield [state[skip : size - half] for state in self._encode(waiting[: size * self.hop])]
                waiting, skip = waiting[(size - 2 * half) * self.hop :], half
        if len(waiting) > skip * self.hop:
            yield [state[skip:] for state in self._encode(waiting)]

    def _encode(self, signal: Tensor) -> list[Tensor]:
        with torch.no_grad():
            states, frames = self.encoder(signal[None, None].to(self.device), torch.tensor([len(signal)], device=self.device))
        return [state[0, : int(frames)] for state in states]

    def _windows(self, features: Iterable[Tensor]) -> Iterator[Piece]:
        """The head on features of any length, in windows."""
        waiting, skip = torch.zeros(0, self.head.trunk.input_dim, device=self.device), 0
        for piece in features:
            waiting = torch.cat([waiting, piece])
            while len(waiting) > self._window * self.stack:
                yield self._one(waiting[: self._window * self.stack], skip, self._window - self._half)
                waiting, skip = waiting[(self._window - 2 * self._half) * self.stack :], self._half
        if len(waiting) > skip * self.stack:
            yield self._one(waiting, skip, None)

    def _one(self, features: Tensor, skip: int, stop: int | None) -> Piece:
        with torch.no_grad():
            heard = self.head(features[None], torch.tensor([len(features)], device=features.device))
        return Piece(heard.log_probs[0, skip:stop], heard.memory[0, skip:stop])


def save_recogniser(folder: str | Path, recogniser: Recogniser, meta: dict[str, Any], card: str) -> Path:
    """Write a recogniser for use, whole or not at all: model.safetensors, config.yaml, tokens.json, README.md.

    Args:
        folder: where to; one that is there already is replaced.
        recogniser: what.
        meta: plain values beside it (training data, settings, scores).
        card: the model card, Markdown.
    """
    sizes = {"window": recogniser.window, "overlap": recogniser.overlap}
    described = {"encoder": describe(recogniser.encoder), "head": describe(recogniser.head), **sizes}
    facts = {"sample_rate": recogniser.sample_rate, "frame_shift": recogniser.frame_shift, "tokens": len(recogniser.tokens)}
    texts = {CARD: card, TOKENS: recogniser.tokens.as_text()}
    return save_module(folder, SECTION, recogniser, {**facts, **meta}, texts, described)


def load_recogniser(path: str | Path, trust: tuple[str, ...] = ("sigssl",)) -> Recogniser:
    """Read a recogniser that :func:`save_recogniser` wrote, in eval mode on the CPU.

    Args:
        path: its folder, or a run of `sigssl finetune asr` that holds it as `recogniser/`.
        trust: top-level packages whose classes its configuration may name.

    Raises:
        UserError: nothing there, a pickled checkpoint, damaged weights, or a class outside of `trust`.
    """
    folder = recogniser_folder(path)
    section, where = read_section(folder, SECTION), str(folder / CONFIG)
    made = section[SECTION]
    try:
        encoder, head = (build(made[part], where=f"{where}: {part}", trust=trust) for part in ("encoder", "head"))
        recogniser = Recogniser(encoder, head, Tokens.load(folder / TOKENS), made["window"], made["overlap"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{where}: describes no recogniser ({error!r}); copy or train it again.") from error
    load_weights(recogniser, folder, SECTION)
    return recogniser.eval()


def read_recogniser_meta(path: str | Path) -> dict[str, Any]:
    """What was kept beside the weights (sample rate, frame shift, training data, scores), without loading them."""
    return dict(read_section(recogniser_folder(path), SECTION).get("meta", {}))


def recogniser_folder(path: str | Path) -> Path:
    """The folder that holds the weights, given it or a run folder; UserError where there is none."""
    path = Path(path)
    for folder in (path, path / SECTION):
        if (folder / WEIGHTS).is_file() and (folder / TOKENS).is_file():
            return folder
    pickled = path if path.is_file() else next(iter(sorted(f for f in path.glob("*") if f.suffix in PICKLED)), None)
    if pickled is not None and pickled.suffix in PICKLED:
        raise UserError(
            f"{pickled}: is a pickled checkpoint, which may run code of its author's choice when it is read, and is refused. "
            f"Name a folder of `sigssl finetune asr` ({WEIGHTS}, {CONFIG}, {TOKENS})."
        )
    if (path / "checkpoints").is_dir():
        raise UserError(f"{path}: this run has not finished; give its `sigssl finetune asr` command again to go on.")
    raise UserError(
        f"{path}: no recogniser there: it should hold {WEIGHTS}, {CONFIG} and {TOKENS}, or a subfolder {SECTION}/ with them, "
        f"as `sigssl finetune asr` writes them."
    )


PICKLED = {".pt", ".pth", ".ckpt", ".bin", ".pkl", ".tar"}
