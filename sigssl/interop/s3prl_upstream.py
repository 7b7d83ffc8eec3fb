"""Upstreams of s3prl as encoders of sigssl: `sigssl.load("s3prl:NAME")`, `sigssl.load("s3prl:NAME:PATH")`.

Example:
    >>> encoder = sigssl.load("s3prl:fbank")
    >>> encoder = sigssl.load("s3prl:tera_local:states-1000000.ckpt")
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sigssl.errors import MissingExtraError, UserError, nearest
from sigssl.interop import s3prl_shim
from sigssl.methods.s3prl_layout import inert_schedules
from sigssl.optional import require
from sigssl.training.foreign import ALLOW, Foreign, downloads_allowed, facts
from sigssl.types import Hidden

# Samples up to which shorter items are repeated: from 60 ms on, every stock upstream gives finite frames for every item,
# as many as s3prl's own check of lengths accepts (Kaldi features need 400 samples, and fail that check at 801). Zeros will
# not do, since some upstreams take trailing zeros for padding and cut them off.
LEAST = 960


class S3PRLEncoder(nn.Module):
    """An upstream of s3prl; satisfies :class:`sigssl.types.Encoder`.

    States are all of the upstream's hidden states as `S3PRLUpstream` gives them: ceil(samples / hop) frames per item. Many
    upstreams let padding and neighbours into an item's states; items therefore run apart, together only with those of equal length.

    Args:
        name: of the upstream in s3prl's hub, such as "fbank" or "tera_local".
        path: of its checkpoint, for names that end in _local, _url or _custom.
        together: run a batch as s3prl does, whole: faster, and as good for upstreams that know about padding.

    Raises:
        UserError: no such upstream, one that cannot be built, one whose states differ in width or rate, or one whose checkpoint
            would have to be downloaded (the environment variable SIGSSL_ALLOW_DOWNLOAD=1 allows it).
        MissingExtraError: s3prl is not installed.
    """

    sample_rate = 16000

    def __init__(self, name: str, path: str | None = None, together: bool = False) -> None:
        super().__init__()
        self.name, self.path, self.together = name, path, together
        self.upstream = _built(name, path)
        widths, rates = set(self.upstream.hidden_sizes), set(self.upstream.downsample_rates)
        if len(widths) != 1 or len(rates) != 1:
            raise UserError(
                f"s3prl:{name}: its states have widths {sorted(widths)} and strides {sorted(rates)}; expected one of each."
            )
        self.dim, self.hop = int(widths.pop()), int(rates.pop())
        self.num_layers = int(self.upstream.num_layers) - 1
        self.eval()

    def forward(self, x: Float[Tensor, "batch channels samples"], lengths: Int[Tensor, " batch"]) -> Hidden:
        """Hidden states of signals of any length from one sample; those under 960 samples are repeated up to them.

        Args:
            x: [B, 1, S] at 16 kHz; what lies behind the lengths is ignored.
            lengths: valid samples of each item [B].

        Returns:
            All states [B, T, D] and the valid frames of each item, ceil(samples / hop).

        Raises:
            UserError: more than one channel, or the upstream fails on these signals.
        """
        if x.shape[1] != 1:
            raise UserError(
                f"an s3prl upstream takes one channel, the signal has {x.shape[1]}: choose one when reading, or mix down."
            )
        lengths = lengths.to(x.device)
        filled = lengths.clamp(min=LEAST)
        place = torch.arange(max(LEAST, x.shape[2]), device=x.device)[None]
        signal = x[:, 0].float().gather(1, place % lengths.clamp(min=1)[:, None])  # each item again and again ...
        signal = signal.masked_fill(place >= filled[:, None], 0)  # ... to its end, or to the least
        counts = torch.div(lengths + self.hop - 1, self.hop, rounding_mode="floor")
        groups = [torch.arange(len(x))] if self.together else [torch.nonzero(filled == n)[:, 0] for n in filled.unique()]
        states: list[Tensor] = []
        for group in groups:
            part = self._states(signal[group, : int(filled[group].max())], filled[group])
            if not states:
                states = [s.new_zeros(len(x), int(counts.max()), s.shape[2]) for s in part]
            for whole, state in zip(states, part, strict=True):
                keep = min(whole.shape[1], state.shape[1])
                whole[group, :keep] = state[:, :keep]
        return Hidden(states, counts)

    def frame_count(self, samples: int) -> int:
        """Frames of a signal of `samples` samples."""
        return -(-samples // self.hop)

    def _states(self, signal: Tensor, lengths: Tensor) -> list[Tensor]:
        try:
            states: list[Tensor] = self.upstream(signal, lengths)[0]
        except (AssertionError, ArithmeticError, IndexError, RuntimeError, ValueError) as error:
            raise UserError(
                f"s3prl:{self.name} fails on signals of {lengths.tolist()} samples ({type(error).__name__}: {error}); "
                f"some upstreams cannot take digital silence."
            ) from error
        return states

    def trainable(self, part: str) -> list[nn.Parameter]:
        """Parameters to train in fine-tuning: none ("frozen"), or all ("full").

        Raises:
            UserError: "last_block": an upstream does not say what its blocks are.
        """
        if part == "last_block":
            raise UserError(f"s3prl:{self.name} does not say what its last block is: use frozen or full.")
        return list(self.parameters()) if part == "full" else []

    def untrained(self) -> S3PRLEncoder:
        """The same upstream with random weights: matrices Xavier-normal, vectors with the moments of the trained ones.

        (s3prl's `randomize=True`, but for vectors without a deviation, which stay.) Draws from torch's global generator.
        """
        other = S3PRLEncoder(self.name, self.path, self.together)
        with torch.no_grad():
            for parameter in other.parameters():
                if parameter.dim() >= 2:
                    nn.init.xavier_normal_(parameter)
                elif parameter.numel() > 1:
                    parameter.copy_(torch.randn_like(parameter) * parameter.std() + parameter.mean())
        return other


def from_name(rest: str | Path) -> Foreign:
    """What `s3prl:NAME` or `s3prl:NAME:PATH` names, `rest` being what stands behind `s3prl:`."""
    name, _, path = str(rest).partition(":")
    path = str(Path(path).resolve()) if path and Path(path).exists() else path
    full = f"s3prl:{name}:{path}" if path else f"s3prl:{name}"
    return Foreign(full, lambda: S3PRLEncoder(name, path or None), lambda: dict(_meta(name, path or None)))


@functools.lru_cache(maxsize=8)
def _meta(name: str, path: str | None) -> dict[str, Any]:
    encoder = S3PRLEncoder(name, path)
    digest = hashlib.sha256(f"s3prl:{name}".encode())
    for key, value in sorted(encoder.state_dict().items()):
        digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    source = f"s3prl:{name}" + (f":{path}" if path else "")
    return {**facts(encoder), "method": f"s3prl {name}", "source": source, "weights_sha256": digest.hexdigest()}


def _built(name: str, path: str | None) -> Any:
    """The upstream in eval mode, with the same random weights each time where it has no trained ones; s3prl seeds what it likes."""
    make = s3prl_shim.import_upstream()
    hub = require("s3prl.hub", "to find its upstreams")
    if name not in hub.options():
        raise UserError(
            f"s3prl:{name}: s3prl has no such upstream.{nearest(name, hub.options())} Expected s3prl:NAME or s3prl:NAME:PATH."
        )
    network = contextlib.nullcontext() if downloads_allowed() else s3prl_shim.no_downloads()
    inert = torch.serialization.safe_globals([argparse.Namespace, *inert_schedules()])  # what s3prl's own checkpoints hold
    try:
        with network, inert, s3prl_shim.kept_random(0):
            upstream = make(name, path_or_url=path)
    except MissingExtraError:
        raise
    except UserError as error:
        raise UserError(f"s3prl:{name}: {error}. Allow it with {ALLOW}=1, or name the file: s3prl:{name}_local:PATH.") from error
    except Exception as error:  # an expert may raise anything
        hint = "" if path else f" Where it needs a checkpoint, name it: s3prl:{name}:PATH."
        raise UserError(f"s3prl:{name}: cannot be built ({type(error).__name__}: {error}).{hint}") from error
    return upstream.eval()
