"""Self-supervised learning on speech, audio and biosignals, along one path: recordings, features, views, encoder, objective, probe.

``import sigssl`` imports neither torch nor any other heavy library; :func:`load` does so when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sigssl.types import Encoder

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(path: str | Path) -> Encoder:
    """Load an encoder: one of sigssl's own, or one that another toolkit made.

    Args:
        path: one of

            - a folder that ``sigssl export`` (or ``sigssl pretrain`` at its end) wrote, or the run's folder;
            - a checkpoint file of s3prl's `tera`, `mockingjay` or `audio_albert`;
            - a folder of a `transformers` model: wav2vec 2.0, HuBERT, WavLM, data2vec-audio, ... (config.json, model.safetensors);
            - ``hf:ORG/NAME``, the same from the cache of the Hugging Face hub (downloaded if SIGSSL_ALLOW_DOWNLOAD=1);
            - ``s3prl:NAME`` or ``s3prl:NAME:PATH``, an upstream of s3prl.

    Returns:
        The encoder in eval mode on the CPU: ``encoder(x, lengths) -> Hidden``, `x` float32 [batch, channels, samples].

    Raises:
        UserError: the folder, its weights or its configuration are missing, damaged, or name a class outside sigssl.

    Example:
        >>> encoder = sigssl.load("hf:microsoft/wavlm-base")
        >>> hidden = encoder(torch.randn(1, 1, 32000), torch.tensor([32000]))  # hidden.states, hidden.lengths
    """
    from sigssl.training.checkpoint import load_encoder

    return load_encoder(path)
