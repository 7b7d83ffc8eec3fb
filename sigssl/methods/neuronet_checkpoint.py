"""NeuroNet's own checkpoints (`best_model.pth`): read without running what they hold, under their authors' names of parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sigssl.errors import UserError
from sigssl.methods.neuronet import NeuroNet
from sigssl.methods.neuronet_encoder import NeuroNetEncoder
from sigssl.views import TokenMask

State = dict[str, Tensor]

# their names -> ours, in order; the first rule that fits a name is applied with all that follow
RULES = (
    (r"^frame_backbone\.model\.conv1\.", "encoder.frame_network.stem."),
    (r"^frame_backbone\.model\.bn1\.", "encoder.frame_network.stem_norm."),
    (r"^frame_backbone\.feature_layer\.", "encoder.frame_network.head."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut_norm."),
    (r"\.bn([12])\.", r".norm\1."),
    (r"^autoencoder\.decoder_embed\.", "decoder.embed."),
    (r"^autoencoder\.decoder_pred\.", "decoder.predict."),
    (r"^autoencoder\.decoder_norm\.", "decoder.norm."),
    (r"^autoencoder\.decoder_pos_embed$", "decoder.positions"),
    (r"^autoencoder\.decoder_block\.", "decoder.blocks."),
    (r"^autoencoder\.mask_token$", "decoder.mask_token"),
    (r"^autoencoder\.patch_embed\.", "encoder.body.embed."),
    (r"^autoencoder\.encoder_norm\.", "encoder.body.norm."),
    (r"^autoencoder\.pos_embed$", "encoder.body.positions"),
    (r"^autoencoder\.cls_token$", "encoder.body.cls_token"),
    (r"^autoencoder\.encoder_block\.", "encoder.body.blocks."),
    (r"\.attn\.qkv\.", ".qkv."),
    (r"\.attn\.proj\.", ".out."),
    (r"\.mlp\.fc1\.", ".up."),
    (r"\.mlp\.fc2\.", ".down."),
    (r"(blocks\.\d+)\.norm1\.", r"\1.attention_norm."),
    (r"(blocks\.\d+)\.norm2\.", r"\1.ffn_norm."),
    (r"^projectors\.", "project."),
)
STAGE = re.compile(r"^frame_backbone\.model\.layer(\d)x\d_(\d)\.0\.(.+)$")
UNUSED = "projectors_bn."  # built there and never applied


def import_neuronet(path: str | Path) -> NeuroNet:
    """Build a NeuroNet in reference mode from a checkpoint of its authors' code.

    Args:
        path: a `best_model.pth`; only tensors and plain values are taken from it (`weights_only=True`).

    Returns:
        The method, in eval mode.

    Raises:
        UserError: no such file, another kind of file, or tensors that do not fit its own parameters.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or refused file
        raise UserError(f"{path}: cannot be read as a checkpoint ({error}).") from error
    if not isinstance(content, dict) or not {"model_state", "model_parameter"} <= content.keys():
        raise UserError(f"{path}: is no checkpoint of NeuroNet: expected model_state and model_parameter in it.")
    settings, ratio = content["model_parameter"], dict(content.get("hyperparameter") or {}).get("mask_ratio", 0.8)
    try:
        method = reference(settings, float(ratio))
        method.load_state_dict(from_reference(content["model_state"]), strict=True)
    except (RuntimeError, KeyError, TypeError) as error:
        raise UserError(f"{path}: the tensors do not fit the parameters in the same file: {error}") from error
    return method.eval()


def reference(settings: Mapping[str, Any], mask_ratio: float = 0.8) -> NeuroNet:
    """NeuroNet in reference mode.

    Args:
        settings: of its authors' constructor: fs, second, time_window, time_step, encoder_embed_dim, encoder_heads,
            encoder_depths, decoder_embed_dim, decoder_heads, decoder_depths, projection_hidden, temperature.
        mask_ratio: share of frames that is masked.
    """
    encoder = NeuroNetEncoder(
        sample_rate=int(settings["fs"]),
        epoch_seconds=float(settings["second"]),
        frame_seconds=float(settings["time_window"]),
        hop_seconds=float(settings["time_step"]),
        dim=int(settings["encoder_embed_dim"]),
        heads=int(settings["encoder_heads"]),
        depth=int(settings["encoder_depths"]),
        framing="reference",
        positions="reference",
    )
    return NeuroNet(
        encoder,
        TokenMask(mask_ratio, rounding="floor"),
        decoder_dim=int(settings["decoder_embed_dim"]),
        decoder_heads=int(settings["decoder_heads"]),
        decoder_depth=int(settings["decoder_depths"]),
        projector=[int(width) for width in settings["projection_hidden"]],
        temperature=float(settings["temperature"]),
        target="frame_token_live",
        target_norm=False,
        view_norms="apart",
    )


def from_reference(state: Mapping[str, Tensor]) -> State:
    """Their state dict under our names; what they build and never use is left out."""
    return {_renamed(name): value for name, value in state.items() if not name.startswith(UNUSED)}


def _renamed(name: str) -> str:
    found = STAGE.match(name)
    if found:
        branch, stage = (int(found[1]) - 3) // 2, int(found[2]) - 1
        name = f"encoder.frame_network.branches.{branch}.{stage}.{found[3]}"
    for pattern, ours in RULES:
        name = re.sub(pattern, ours, name)
    return name
