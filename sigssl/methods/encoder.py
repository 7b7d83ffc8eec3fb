"""From a signal to hidden states: a frame feature and a Transformer, with long inputs in overlapping windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sigssl.errors import UserError
from sigssl.features import Extractor
from sigssl.methods.windows import check_windows, encode_windows, stream_windows
from sigssl.nn import TransformerEncoder
from sigssl.types import Batch, Hidden


class FrameEncoder(nn.Module):
    """Features, then a Transformer; satisfies :class:`sigssl.types.Encoder`.

    Inputs of up to `window` frames run whole. Longer ones run in windows of `window` frames that overlap by `overlap`,
    positions restarting in each, and are joined at the middle of the overlap. So memory for attention is bounded, positions stay in
    the range seen in training, and :meth:`stream` gives what :meth:`forward` gives. (s3prl cuts such inputs into near-equal parts
    without overlap.)

    Args:
        features: waveform -> frames.
        body: frames -> states.
        window: longest run, in frames; the crop of pretraining.
        overlap: frames shared by neighbouring windows; half of them is the least context a frame inside has on either side.
    """

    def __init__(self, features: Extractor, body: TransformerEncoder, window: int = 1500, overlap: int = 200) -> None:
        super().__init__()
        if features.dim != body.input_dim:
            raise UserError(
                f"FrameEncoder: {type(features).__name__} makes {features.dim} values per frame, the Transformer takes "
                f"{body.input_dim}: set body.input_dim to {features.dim}."
            )
        check_windows("FrameEncoder", window, overlap)
        self.features, self.body, self.window, self.overlap = features, body, window, overlap
        self.dim, self.num_layers = body.dim, body.layers
        self.hop, self.sample_rate = features.hop, features.sample_rate

    def forward(self, x: Float[Tensor, "batch channels samples"], lengths: Int[Tensor, " batch"]) -> Hidden:
        """Hidden states of signals.

        Args:
            x: [B, 1, S] at `sample_rate`; what lies behind the lengths is ignored.
            lengths: valid samples of each item [B].

        Returns:
            `num_layers + 1` states [B, T, D] and the valid frames of each item.

        Raises:
            UserError: more than one channel.
        """
        return self.encode(*self.frames(x, lengths))

    def frames(
        self, x: Float[Tensor, "batch channels samples"] | Batch, lengths: Int[Tensor, " batch"] | None = None
    ) -> tuple[Float[Tensor, "batch time features"], Int[Tensor, " batch"]]:
        """The frames that the Transformer reads, padding filled with zeros.

        Args:
            x: signals [B, 1, S] with `lengths` in samples, or a whole batch: of signals, or of stored frames, which pass through.
            lengths: valid samples; not given with a batch.

        Returns:
            Frames [B, T, F] in float32 and the valid frames of each item [B].

        Raises:
            UserError: several channels, a different sample rate, or stored frames of another width.
        """
        if isinstance(x, Batch):
            return self._from_batch(x)
        assert lengths is not None, "lengths come with a signal"
        if x.shape[1] != 1:
            raise UserError(
                f"FrameEncoder takes one channel, the signal has {x.shape[1]}: choose one, or mix them down, when reading."
            )
        return self.features(x[:, 0], lengths)

    def _from_batch(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.sample_rate != self.sample_rate:
            raise UserError(
                f"FrameEncoder works at {self.sample_rate} Hz, the batch has {batch.sample_rate} Hz: resample when reading."
            )
        return self._stored(batch) if batch.is_frames else self.frames(batch.x, batch.lengths)

    def _stored(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.x.shape[2] != self.body.input_dim:
            raise UserError(
                f"FrameEncoder takes {self.body.input_dim} values per frame, the stored features have {batch.x.shape[2]}: "
                f"make them with {type(self.features).__name__} as this model's config says."
            )
        return batch.x, batch.lengths

    def encode(self, frames: Float[Tensor, "batch time features"], lengths: Int[Tensor, " batch"]) -> Hidden:
        """Hidden states of frames [B, T, F], in windows where T is larger than `window`."""
        return Hidden(encode_windows(self.body, frames, lengths, self.window, self.overlap), lengths)

    @torch.no_grad()
    def stream(self, blocks: Callable[[], Iterator[Float[Tensor, " samples"]]]) -> Iterator[list[Float[Tensor, "time dim"]]]:
        """Hidden states of one recording of any length, piece by piece, at bounded memory.

        Args:
            blocks: starts reading the recording from its beginning, as one-channel pieces of any size; called again where the
                features need statistics of the whole recording first.

        Yields:
            `num_layers + 1` states [t, D] of the next t frames; joined they equal :meth:`forward`.
        """
        device = self.body.embed.weight.device
        yield from stream_windows(self.body, self.features.stream(blocks), self.window, self.overlap, device)

    def frame_count(self, samples: int) -> int:
        """Frames of a signal of so many samples."""
        return int(self.features.frame_count(samples))

    def trainable(self, part: Literal["frozen", "last_block", "full"]) -> list[nn.Parameter]:
        """The parameters that fine-tuning changes: none, those of the last Transformer layer and of a norm behind it, or all.

        Raises:
            UserError: the last layer of a Transformer whose layers share their weights.
        """
        if part == "last_block" and self.body.share_layers:
            raise UserError("the layers of this Transformer share their weights, so that none is the last: use frozen or full.")
        if part == "last_block":
            final = [] if self.body.final_norm is None else list(self.body.final_norm.parameters())
            return [*self.body.blocks[-1].parameters(), *final]
        return list(self.parameters()) if part == "full" else []
