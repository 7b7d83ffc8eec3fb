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
    """Load an exported encoder: a folder with ``model.safetensors`` and ``config.yaml``, or a checkpoint file of s3prl.

    Args:
        path: the folder that ``sigssl export`` (or ``sigssl pretrain`` at its end) wrote, or a file of s3prl's `tera`,
            `mockingjay` or `audio_albert`.

    Returns:
        The encoder in eval mode on the CPU: ``encoder(x, lengths) -> Hidden``, `x` float32 [batch, channels, samples].

    Raises:
        UserError: the folder, its weights or its configuration are missing, damaged, or name a class outside sigssl.
    """
    from sigssl.training.checkpoint import load_encoder

    return load_encoder(path)
