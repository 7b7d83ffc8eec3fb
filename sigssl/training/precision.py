"""Whether a device multiplies bfloat16 faster than float32."""

from __future__ import annotations

from typing import Literal

import torch

from sigssl.training.options import Precision


def resolve(precision: Precision, device: str) -> Literal["32-true", "bf16-mixed"]:
    """`precision`, "auto" replaced by bf16-mixed where the device multiplies bfloat16 natively, else 32-true.

    Args:
        precision: 32-true; bf16-mixed: matrix products in bfloat16 under autocast, parameters and norms in float32; or auto.
        device: "cpu", "cuda" or such.
    """
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # torch has no public word for it; where a version lacks these, it is float32
        fast = any(getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))
    return "bf16-mixed" if fast else "32-true"
