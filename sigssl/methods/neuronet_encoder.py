"""NeuroNet's encoder: epochs of a signal to one vector each, or a recording of any length to hidden states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sigssl.data.scaling import RobustScaler
from sigssl.errors import UserError
from sigssl.nn.mae import MaskedEncoder, Positions
from sigssl.nn.resnet1d import FrameNetwork, Framing, Norm
from sigssl.types import Hidden, frame_mask

CHUNK = 64  # epochs that go through at a time where a recording is long


class NeuroNetEncoder(nn.Module):
    """Frame network and Transformer; satisfies :class:`sigssl.types.EpochEncoder` and :class:`sigssl.types.Encoder`.

    `encoder(x)` takes scaled epochs and gives one vector for each. `encoder(x, lengths)` takes whole recordings of any length and
    unit: each is scaled by `scaler`, cut into epochs, and gives hidden states, one per frame.

    Args:
        sample_rate: in hertz.
        epoch_seconds: length of an epoch.
        channels: C.
        frame_seconds: length of a frame.
        hop_seconds: from one frame to the next.
        widths: channels of the frame network's stages.
        kernels: of its branches.
        token_dim: width of a frame's token; None: half of the joined averages (256 with the default widths).
        dim: D of the Transformer.
        heads: of attention.
        depth: blocks.
        norm: of the frame network: "batch", or "group".
        framing: see :class:`sigssl.nn.resnet1d.FrameNetwork`.
        positions: see :class:`sigssl.nn.mae.MaskedEncoder`.
        pool: an epoch's vector is the "mean" of its frames' states, or the class token's ("cls").
        scaler: of whole recordings; kept with the encoder, so that every stage applies the same.

    Raises:
        UserError: sizes that do not fit together.
    """

    def __init__(
        self,
        sample_rate: int = 100,
        epoch_seconds: float = 30.0,
        channels: int = 1,
        frame_seconds: float = 3.0,
        hop_seconds: float = 0.375,
        widths: Sequence[int] = (32, 32, 48, 64),
        kernels: Sequence[int] = (3, 5, 7),
        token_dim: int | None = None,
        dim: int = 512,
        heads: int = 8,
        depth: int = 4,
        norm: Norm = "batch",
        framing: Framing = "continuous",
        positions: Positions = "sincos1d",
        pool: Literal["mean", "cls"] = "mean",
        scaler: RobustScaler | None = None,
    ) -> None:
        super().__init__()
        self.sample_rate, self.epoch_seconds, self.channels = sample_rate, epoch_seconds, channels
        self.frame_seconds, self.hop_seconds = frame_seconds, hop_seconds
        self.widths, self.kernels, self.token_dim = list(widths), list(kernels), token_dim
        self.dim, self.heads, self.depth = dim, heads, depth
        self.norm: Norm = norm
        self.framing: Framing = framing
        self.positions: Positions = positions
        self.pool: Literal["mean", "cls"] = pool
        self.scaler = scaler or RobustScaler()
        self.samples = round(epoch_seconds * sample_rate)
        window, hop = round(frame_seconds * sample_rate), hop_seconds * sample_rate
        self.frame_network = FrameNetwork(
            self.samples, window, hop, channels, self.widths, self.kernels, token_dim=token_dim, norm=norm, framing=framing
        )
        self.body = MaskedEncoder(self.frame_network.dim, self.frames, dim, heads, depth, positions)
        self.num_layers = depth
        self.hop = max(1, round(hop))

    @property
    def frames(self) -> int:
        """Frames of an epoch."""
        return self.frame_network.frames

    def forward(
        self, x: Float[Tensor, "batch channels samples"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch dim"] | Hidden:
        """One vector per epoch, or hidden states of recordings.

        Args:
            x: without `lengths`: epochs [B, C, S], scaled. With them: recordings in any unit, scaled here, each by itself.
            lengths: valid samples of each recording.

        Returns:
            [B, D]; or `num_layers + 1` states [B, T, D] with the valid frames of each item: those of its epochs one after another
            (positions restart in each), and of a part of an epoch at its end those frames that begin in it.

        Raises:
            UserError: another number of channels, or, without lengths, epochs of another length.
        """
        if x.shape[1] != self.channels:
            raise UserError(f"NeuroNetEncoder takes {self.channels} channel(s), the signal has {x.shape[1]}: pick when reading.")
        if lengths is None:
            return self.pooled(self.body(self.tokens(x)))
        return self._recordings(x, lengths)

    def tokens(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch frames token"]:
        """The frames' tokens of scaled epochs."""
        if x.shape[2] != self.samples:
            raise UserError(
                f"NeuroNetEncoder takes epochs of {self.samples} samples ({self.epoch_seconds:g} s at {self.sample_rate} Hz), "
                f"these have {x.shape[2]}."
            )
        return self.frame_network(x)

    def pooled(self, states: Float[Tensor, "batch frames_and_class dim"]) -> Float[Tensor, "batch dim"]:
        """An epoch's vector from the last states, the class token's first."""
        return states[:, 0] if self.pool == "cls" else states[:, 1:].mean(1)

    def trainable(self, part: Literal["frozen", "last_block", "full"]) -> list[nn.Parameter]:
        """Parameters to train in fine-tuning: none, those of the last block and the final norm, or all."""
        if part == "frozen":
            return []
        if part == "last_block":
            return [*self.body.blocks[-1].parameters(), *self.body.norm.parameters()]
        return [parameter for parameter in self.parameters() if parameter is not self.body.positions or parameter.requires_grad]

    def epochs(self, signal: Float[Tensor, "channels samples"], chunk: int = CHUNK) -> Float[Tensor, "epochs dim"]:
        """Vectors [E, D] of the whole epochs of one recording in any unit; a part of an epoch at the end is left out."""
        count = signal.shape[1] // self.samples
        scaled = self.scaler(signal)[:, : count * self.samples]
        cut = scaled.unflatten(1, (count, self.samples)).transpose(0, 1)
        device = self.body.cls_token.device
        parts = [self(part.to(device)) for part in cut.split(chunk)] if count else []
        return torch.cat(parts) if parts else torch.zeros(0, self.dim, device=device)

    @torch.no_grad()
    def stream(self, blocks: Callable[[], Iterator[Float[Tensor, " samples"]]]) -> Iterator[list[Float[Tensor, "time dim"]]]:
        """Hidden states of one recording of one channel, some epochs at a time.

        The recording itself is held (a day at 100 Hz is 35 MB), since it is scaled by its own quantiles; its states are not.

        Args:
            blocks: starts reading the recording from its beginning, in pieces of any size.
        """
        signal = torch.cat(list(blocks()))[None]
        if self.channels != 1:
            raise UserError(f"NeuroNetEncoder takes {self.channels} channels; a recording of one cannot be streamed through it.")
        scaled = self.scaler(signal)
        for begin in range(0, signal.shape[1], CHUNK * self.samples):
            part = scaled[:, begin : begin + CHUNK * self.samples]
            frames = int(self.frame_counts(torch.tensor([part.shape[1]]))[0])
            yield [state[:frames] for state in self._states(self._cut(part))]

    def frame_counts(self, lengths: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Frames of recordings of these numbers of samples."""
        whole, rest = lengths // self.samples, lengths % self.samples
        begins = torch.tensor(self.frame_network.starts, device=lengths.device)
        return whole * self.frames + (begins[None, :] < rest[:, None]).sum(1)

    def _recordings(self, x: Tensor, lengths: Tensor) -> Hidden:
        sizes = lengths.tolist()
        counts = self.frame_counts(lengths)
        most = int(counts.max())
        items = [self._states(self._cut(self.scaler(signal[:, :size]))) for signal, size in zip(x, sizes, strict=True)]
        valid = frame_mask(counts, most)[:, :, None]
        padded = [
            torch.stack([nn.functional.pad(s[:most], (0, 0, 0, max(0, most - len(s)))) for s in layer])
            for layer in zip(*items, strict=True)
        ]
        return Hidden([state.masked_fill(~valid, 0.0) for state in padded], counts)

    def _cut(self, signal: Tensor) -> Tensor:
        """[C, N] -> epochs [E, C, S], the last filled up with zeros."""
        count = -(-signal.shape[1] // self.samples)
        filled = nn.functional.pad(signal, (0, count * self.samples - signal.shape[1]))
        return filled.unflatten(1, (count, self.samples)).transpose(0, 1)

    def _states(self, epochs: Tensor) -> list[Tensor]:
        """States [E x F, D] of every layer, without the class tokens."""
        parts = [self.body.states(self.tokens(part)) for part in epochs.split(CHUNK)]
        return [torch.cat([state[:, 1:] for state in layer]).flatten(0, 1) for layer in zip(*parts, strict=True)]
