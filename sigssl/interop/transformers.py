"""Speech encoders of Hugging Face's `transformers` as encoders of sigssl: wav2vec 2.0, HuBERT, WavLM, data2vec-audio and their kin.

Example:
    >>> import sigssl, torch
    >>> encoder = sigssl.load("hf:facebook/wav2vec2-base")  # or a folder with config.json and model.safetensors
    >>> hidden = encoder(torch.randn(2, 1, 16000), torch.tensor([16000, 9000]))
    >>> len(hidden.states), hidden.lengths.tolist()
    (13, [49, 27])
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sigssl.errors import UserError, nearest
from sigssl.interop.convolutions import Convolutions, standardised, standardised_blocks
from sigssl.methods.windows import check_windows, encode_windows, stream_windows
from sigssl.optional import require
from sigssl.types import Hidden, frame_mask

# model_type of config.json -> stem of the classes' names
FAMILIES = {
    "wav2vec2": "Wav2Vec2",
    "hubert": "Hubert",
    "wavlm": "WavLM",
    "data2vec-audio": "Data2VecAudio",
    "wav2vec2-conformer": "Wav2Vec2Conformer",
    "unispeech": "UniSpeech",
    "unispeech-sat": "UniSpeechSat",
}
# Off for good: masking and skipped layers belong to their pretraining, the adapter behind the encoder to its translation models.
OFF = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "apply_spec_augment": False, "layerdrop": 0.0, "add_adapter": False}
MASK = "masked_spec_embed"  # stands in for masked frames; no masking, no such parameter
# Says where a configuration comes from and what heads it had, not how the encoder is built.
ASIDE = (
    "_name_or_path",
    "architectures",
    "auto_map",
    "dtype",
    "id2label",
    "label2id",
    "torch_dtype",
    "transformers_version",
)


class TransformersEncoder(nn.Module):
    """A speech encoder of `transformers`; satisfies :class:`sigssl.types.Encoder`.

    States are those of `output_hidden_states=True`: what enters the first layer, then every layer's output. The last one is
    `last_hidden_state`, that is behind the final layer norm where the model has one, as in fairseq and s3prl (transformers 5 leaves
    that norm out of `hidden_states[-1]`).

    An item's states depend on its own samples alone: they are what `transformers` gives for the item without padding. By itself it
    lets padding through in group norm, in data2vec's stacked positional convolutions and in the Conformer's convolutions.

    Inputs of more than `window` frames run in overlapping windows (see :class:`sigssl.methods.FrameEncoder`), so that memory is
    bounded and :meth:`stream` gives what :meth:`forward` gives.

    Args:
        config: of the model, plain values as in its config.json; `model_type` names the family.
        normalize: bring each signal to mean 0 and variance 1 over its valid samples, as the checkpoint expects it (`do_normalize`).
        sample_rate: hertz.
        window: longest run, in frames (30 s).
        overlap: frames shared by neighbouring windows (4 s).
        train_front: whether the convolutions take part in training; published fine-tunings keep them as they are.

    Raises:
        UserError: a family that is not known here, or impossible windows.
        MissingExtraError: transformers is not installed.
    """

    def __init__(
        self,
        config: dict[str, Any],
        normalize: bool,
        sample_rate: int = 16000,
        window: int = 1500,
        overlap: int = 200,
        train_front: bool = False,
    ) -> None:
        super().__init__()
        check_windows("TransformersEncoder", window, overlap)
        self.config = {key: value for key, value in {**config, **OFF}.items() if key not in ASIDE}
        self.normalize, self.sample_rate, self.train_front = normalize, sample_rate, train_front
        self.window, self.overlap = window, overlap
        settings_class, model_class = classes(str(config.get("model_type")))
        self.adopt(model_class(settings_class.from_dict(dict(self.config))))
        settings = self.model.config
        self.dim, self.num_layers, self.hop = int(settings.hidden_size), int(settings.num_hidden_layers), self.front.hop

    def adopt(self, model: Any) -> None:
        """Put a model of this configuration, with its weights, in the place of the present one."""
        if hasattr(model, MASK):  # some families have it whether they mask or not
            delattr(model, MASK)
        self.model = model
        self.front = Convolutions(model.feature_extractor.conv_layers, model.config.conv_kernel, model.config.conv_stride)
        model.feature_extractor.requires_grad_(self.train_front)

    def forward(self, x: Float[Tensor, "batch channels samples"], lengths: Int[Tensor, " batch"]) -> Hidden:
        """Hidden states of signals of any length from one sample.

        A signal shorter than one frame sees (400 samples) is filled up with zeros and gives one frame.

        Args:
            x: [B, 1, S] at `sample_rate`; what lies behind the lengths is ignored.
            lengths: valid samples of each item [B].

        Returns:
            `num_layers + 1` states [B, T, D] and the valid frames of each item.

        Raises:
            UserError: more than one channel.
        """
        if x.shape[1] != 1:
            raise UserError(
                f"the encoder takes one channel, the signal has {x.shape[1]}: choose one when reading, or mix them down."
            )
        lengths = lengths.to(x.device)
        frames, counts = self.frames(x[:, 0], lengths)
        states = encode_windows(self.body, frames, counts, self.window, self.overlap)
        return Hidden(states, torch.where(lengths > 0, counts, torch.zeros_like(counts)))

    def frame_count(self, samples: int) -> int:
        """Frames of a signal of `samples` samples."""
        return int(self.front.count(torch.tensor(max(samples, self.front.receptive)))) if samples > 0 else 0

    def frames(
        self, signal: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch time channels"], Int[Tensor, " batch"]]:
        """What the convolutions make of signals, and the valid frames of each (one at least)."""
        signal = signal.float().masked_fill(~frame_mask(lengths, signal.shape[1]), 0)
        if self.normalize:
            signal = standardised(signal, lengths)
        filled = lengths.clamp(min=self.front.receptive)
        if signal.shape[1] < self.front.receptive:
            signal = nn.functional.pad(signal, (0, self.front.receptive - signal.shape[1]))
        with torch.set_grad_enabled(self.train_front and torch.is_grad_enabled()):
            frames = self.front(signal, filled)
        counts = self.front.count(filled)
        return frames[:, : int(counts.max())], counts

    def body(
        self, frames: Float[Tensor, "batch time channels"], lengths: Int[Tensor, " batch"]
    ) -> list[Float[Tensor, "batch time dim"]]:
        """All states of frames of the convolutions; `lengths` from 1."""
        mask = None if bool((lengths >= frames.shape[1]).all()) else frame_mask(lengths, frames.shape[1])
        projected = self.model.feature_projection(frames)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        with _recorded(self.model.encoder, mask) as states, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")  # WavLM's own, with any mask
            out = self.model.encoder(hidden, attention_mask=mask)
        return [*states[:-1], out[0]]

    @torch.no_grad()
    def stream(self, blocks: Callable[[], Iterator[Float[Tensor, " samples"]]]) -> Iterator[list[Float[Tensor, "time dim"]]]:
        """Hidden states of one recording of any length, piece by piece, at bounded memory.

        Args:
            blocks: starts reading the recording from its beginning, as one-channel pieces of any size; called again where the
                checkpoint needs statistics of the whole recording first (its mean and variance, those of group norm).

        Yields:
            `num_layers + 1` states [t, D] of the next t frames; joined they equal :meth:`forward`.
        """
        device = next(self.parameters()).device

        def moved() -> Iterator[Tensor]:
            return (block.to(device).float() for block in blocks())

        frames = self.front.stream(standardised_blocks(moved) if self.normalize else moved)
        yield from stream_windows(self.body, frames, self.window, self.overlap, device)

    def trainable(self, part: Literal["frozen", "last_block", "full"]) -> list[nn.Parameter]:
        """Parameters to train in fine-tuning: none, those of the last layer and the final norm, or all."""
        if part == "frozen":
            return []
        if part == "last_block":
            encoder = self.model.encoder
            return [*encoder.layers[-1].parameters(), *(encoder.layer_norm.parameters() if self._norm_last() else [])]
        front = set() if self.train_front else {id(p) for p in self.model.feature_extractor.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in front]

    def _norm_last(self) -> bool:
        """Whether `encoder.layer_norm` stands behind the last layer (pre-norm models) rather than before the first."""
        return bool(self.config.get("do_stable_layer_norm")) or self.config["model_type"] == "wav2vec2-conformer"


def classes(family: str) -> tuple[Any, Any]:
    """Configuration class and model class of a family.

    Raises:
        UserError: none of :data:`FAMILIES`.
        MissingExtraError: transformers is not installed.
    """
    if family not in FAMILIES:
        raise UserError(f"model_type {family!r}: expected one of {', '.join(FAMILIES)}.{nearest(family, FAMILIES)}")
    transformers = require("transformers", "for encoders of Hugging Face")
    return getattr(transformers, f"{FAMILIES[family]}Config"), getattr(transformers, f"{FAMILIES[family]}Model")


@contextlib.contextmanager
def _recorded(encoder: Any, mask: Tensor | None) -> Iterator[list[Tensor]]:
    """While it lasts, every layer's input and output is listed, and no convolution of `encoder` sees padding.

    Hooks rather than a loop of our own over the layers, since what these take and return differs between families and versions.
    """
    states: list[Tensor] = []

    def enters(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        states.append(args[0] if args else named["hidden_states"])

    def leaves(_: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        states.append(out[0] if isinstance(out, tuple) else out)

    def silenced(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        assert mask is not None
        return (args[0] * mask[:, None], *args[1:])

    hooks = [encoder.layers[0].register_forward_pre_hook(enters, with_kwargs=True)]
    hooks += [layer.register_forward_hook(leaves) for layer in encoder.layers]
    if mask is not None:
        wide = (m for m in encoder.modules() if isinstance(m, nn.Conv1d) and m.kernel_size[0] > 1)
        hooks += [convolution.register_forward_pre_hook(silenced) for convolution in wide]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()
