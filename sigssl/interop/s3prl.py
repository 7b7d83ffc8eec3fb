"""Models of sigssl, and all that :func:`sigssl.load` opens, as upstreams of s3prl at run time.

Example:
    >>> from sigssl.interop.s3prl import register
    >>> register()
    >>> from s3prl.nn import S3PRLUpstream
    >>> upstream = S3PRLUpstream("sigssl_local", path_or_url="exp/tera").eval()

With s3prl's scripts: `python -m sigssl.interop.s3prl_run run_downstream.py -u sigssl_local -k exp/tera -d phone_linear ...`.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from sigssl import load
from sigssl.errors import UserError
from sigssl.interop import s3prl_shim
from sigssl.optional import require

RATE = 16000  # hertz, of everything that s3prl hands to an upstream
NAMES = ("sigssl_local", "sigssl_custom", "sigssl")


class UpstreamExpert(nn.Module):
    """An encoder behind s3prl's interface of upstreams.

    Every state has exactly ceil(longest / stride) frames, so that neither of s3prl's two length rules changes anything: what an
    encoder gives beyond them is cut, what it lacks repeats each item's own last frame. Every length from one sample is accepted. An
    encoder of another rate gets resampled signals.

    Args:
        ckpt: what :func:`sigssl.load` takes: a run or encoder folder, a folder of transformers, `hf:ORG/NAME` ...
        model_config: not used; the folder holds it.
        kwargs: not used (`refresh` and the like).

    Raises:
        UserError: no such model, one that takes no signals of one channel, or frames that are no whole number of samples at 16 kHz.
    """

    def __init__(self, ckpt: str | None = None, model_config: str | None = None, **kwargs: Any) -> None:
        super().__init__()
        if ckpt is None:
            raise UserError(
                "sigssl's upstream needs a model: -k FOLDER with run_downstream.py, path_or_url=FOLDER with S3PRLUpstream."
            )
        encoder: Any = load(ckpt)
        if not hasattr(encoder, "hop"):
            raise UserError(f"{ckpt}: {type(encoder).__name__} encodes epochs, not signals of any length; s3prl cannot use it.")
        if encoder.hop * RATE % encoder.sample_rate:
            raise UserError(
                f"{ckpt}: a frame of {encoder.hop} samples at {encoder.sample_rate} Hz is no whole number of samples at {RATE} Hz."
            )
        self.encoder = encoder
        self.stride = encoder.hop * RATE // encoder.sample_rate
        self.least = _least(encoder)

    def get_downsample_rates(self, key: str | None = None) -> int:
        """Samples at 16 kHz from one frame to the next, of any key."""
        return self.stride

    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        """States of unpadded 16-kHz signals [n] of any lengths from 1.

        Returns:
            `hidden_states`, the encoder's states [B, T, D] with T = ceil(longest / stride), and `last_hidden_state`.
        """
        frames = -(-max(len(wav) for wav in wavs) // self.stride)
        signals = [_resampled(wav, self.encoder.sample_rate) for wav in wavs]
        lengths = torch.tensor([len(signal) for signal in signals], device=wavs[0].device)
        x = pad_sequence(signals, batch_first=True)
        x = nn.functional.pad(x, (0, max(0, self.least - x.shape[1])))
        hidden = self.encoder(x[:, None], lengths.clamp(min=self.least))
        last = hidden.lengths.to(x.device)[:, None] - 1
        index = torch.minimum(torch.arange(frames, device=x.device)[None], last)[:, :, None]
        states = [state.gather(1, index.expand(-1, -1, state.shape[2])) for state in hidden.states]
        return {"hidden_states": states, "last_hidden_state": states[-1]}


def register() -> ModuleType:
    """Put `sigssl_local`, `sigssl_custom` and `sigssl`, which are the same, into s3prl's hub; twice is once.

    Returns:
        The hub.

    Raises:
        MissingExtraError: s3prl or torchaudio is absent or does not import.
    """
    s3prl_shim.import_upstream()
    hub = require("s3prl.hub", "to be an upstream of it")
    for name in NAMES:
        setattr(hub, name, UpstreamExpert)
    return hub


@torch.no_grad()
def _least(encoder: Any) -> int:
    """The fewest samples that give a frame."""

    def gives(samples: int) -> bool:
        return int(encoder(torch.zeros(1, 1, samples), torch.tensor([samples])).lengths) > 0

    low, high = 0, 1  # gives(low) is false, gives(high) true once the first loop is over
    while not gives(high):
        low, high = high, high * 2
        if high > 64 * encoder.sample_rate:
            raise UserError(f"{type(encoder).__name__} gives no frame for {low} samples; s3prl cannot use it.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if gives(middle) else (middle, high)
    return high


def _resampled(wav: Tensor, rate: int) -> Tensor:
    if rate == RATE:
        return wav
    functional: Any = require("torchaudio.functional", "to resample for an upstream")
    resampled: Tensor = functional.resample(wav, RATE, rate)
    return resampled
