"""The settings of `sigssl finetune asr`, as recipes/conf/asr/*.yaml and the command line give them (no heavy import here)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sigssl.asr.tokens import Kind, Normaliser
from sigssl.errors import UserError
from sigssl.training.options import Precision

Tune = Literal["frozen", "last_block", "full"]


@dataclass(frozen=True)
class DecoderSettings:
    """The attention decoder of a hybrid head (kind seq2seq).

    Attributes:
        dim: width.
        layers: blocks.
        heads: attention heads.
        ffn: inner width of the feed-forward part.
        dropout: of embeddings and of every sublayer.
    """

    dim: int = 256
    layers: int = 2
    heads: int = 4
    ffn: int = 1024
    dropout: float = 0.1


@dataclass(frozen=True)
class HeadSettings:
    """What stands on the encoder.

    Attributes:
        kind: linear (one matrix per frame); blstm (projection, then bidirectional LSTMs); seq2seq (blstm and, beside its CTC
            output, an attention decoder; with layers 0 the decoder reads the stacked frames themselves).
        layer: weighted (learned weighted sum of all hidden states, as in SUPERB), or last.
        normalise: layer norm without parameters on every state before it is weighted.
        stack: frames joined into one before the head: 10-ms frames become 20 ms with 2.
        projection: width after the projection of blstm.
        hidden: LSTM units of each direction.
        layers: LSTM layers.
        dropout: of linear's input, and of every LSTM layer's output.
        ctc_weight: share of the CTC loss in seq2seq, the rest being the decoder's.
        smoothing: of the decoder's labels.
        decoder: sizes of the attention decoder.
    """

    kind: Literal["linear", "blstm", "seq2seq"] = "linear"
    layer: Literal["weighted", "last"] = "weighted"
    normalise: bool = False
    stack: int = 1
    projection: int = 1024
    hidden: int = 1024
    layers: int = 2
    dropout: float = 0.2
    ctc_weight: float = 0.3
    smoothing: float = 0.1
    decoder: DecoderSettings = field(default_factory=DecoderSettings)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be meant, with a UserError."""
        if self.stack < 1:
            raise UserError(f"head.stack={self.stack}: frames that are joined, at least 1.")
        if not 0 < self.ctc_weight <= 1:
            raise UserError(f"head.ctc_weight={self.ctc_weight}: a share above 0, at most 1 (decoding needs the CTC output).")
        if self.kind == "blstm" and self.layers < 1:
            raise UserError("head.layers=0 with kind blstm: that is kind linear.")


@dataclass(frozen=True)
class MaskSettings:
    """SpecAugment on the features that the head takes (Park et al. 2019); widths are drawn from 0 to the largest.

    Attributes:
        times: stretches of time masked in each utterance.
        seconds: the longest of them ...
        share: ... which is at most this share of the utterance.
        channels: bands of neighbouring channels masked.
        width: the widest, as a share of the channels.
    """

    times: int = 0
    seconds: float = 0.4
    share: float = 0.2
    channels: int = 0
    width: float = 0.1


@dataclass(frozen=True)
class AsrSettings:
    """What is trained, on what units, how long.

    Attributes:
        start: pretrained, or scratch: the encoder of --model with new random weights.
        tune: what of the encoder is trained: frozen (nothing), last_block, full.
        thaw_after: updates in which only the head is trained before the encoder is too.
        head: what stands on the encoder.
        tokens: units of text: characters, subwords (sentencepiece), words, phones (units between spaces).
        vocabulary: how many subwords.
        normaliser: how transcripts are written before they are cut into tokens; saved with the model.
        transcripts: name of the table of transcripts in the data directories.
        mask: SpecAugment on features, while training.
        fraction: share of the training utterances that is used, the same of every speaker, drawn with the seed.
        longest: seconds; longer training utterances are skipped.
        updates: of the weights.
        batch_seconds: seconds of signal per update, padding included.
        lr: peak learning rate of the head.
        encoder_lr: that of the trained parts of the encoder.
        warmup: share of the updates in which the rates rise from 0.
        decay: how they fall afterwards.
        weight_decay: of matrices.
        clip: largest norm of the gradient.
        log_every: updates between lines of metrics.jsonl.
        validate_every: updates between recognitions of the dev set; the best by WER is kept.
        best_by: what the best update is chosen by on the dev set. Where hardly a word comes out right, word errors (which may
            exceed 100 %) say nothing of what was learned, and characters choose better.
        save_every: updates between checkpoints.
        cache_gib: memory for hidden states (frozen encoder) or signals; what needs more is computed or read anew each time.
        precision: 32-true, bf16-mixed (weights and losses in float32), or auto: bf16-mixed on GPUs that multiply bfloat16 natively.
        device: cpu, cuda, cuda:N, or auto.
        seed: of initial values, batches, masks, dropout and `fraction`.
    """

    start: Literal["pretrained", "scratch"] = "pretrained"
    tune: Tune = "frozen"
    thaw_after: int = 0
    head: HeadSettings = field(default_factory=HeadSettings)
    tokens: Kind = "characters"
    vocabulary: int = 500
    normaliser: Normaliser | None = None
    transcripts: str = "text"
    mask: MaskSettings = field(default_factory=MaskSettings)
    fraction: float = 1.0
    longest: float = 30.0
    updates: int = 10_000
    batch_seconds: float = 120.0
    lr: float = 1e-3
    encoder_lr: float = 1e-4
    warmup: float = 0.1
    decay: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = 0.01
    clip: float = 1.0
    log_every: int = 20
    validate_every: int = 500
    best_by: Literal["wer", "cer"] = "wer"
    save_every: int = 500
    cache_gib: float = 4.0
    precision: Precision = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be meant, with a UserError."""
        for name in ("updates", "log_every", "validate_every", "save_every", "vocabulary"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: must be at least 1.")
        for name in ("batch_seconds", "longest", "lr", "encoder_lr", "clip"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name}={getattr(self, name)}: must be above 0.")
        if not 0 < self.fraction <= 1:
            raise UserError(f"fraction={self.fraction}: a share above 0, at most 1.")
        if self.start == "scratch" and self.tune == "frozen":
            raise UserError("start=scratch with tune=frozen would keep random weights as they are: give tune=full.")
