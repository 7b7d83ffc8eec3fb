"""Model cards: README.md beside a model, with the front matter that the Hugging Face hub reads, made of what is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FENCE = "---"


def encoder_card(meta: dict[str, Any], name: str = "encoder", epochs: bool = False) -> str:
    """The card of an encoder, of its meta alone; what the meta does not say is said to be unknown.

    Args:
        meta: as :func:`sigssl.training.checkpoint.save_encoder` keeps it. `licence` (an SPDX id or a sentence), `data.train`,
            `data.hours` and `data.speakers`, `method`, `updates`, `source` are used where they are there.
        name: title.
        epochs: it encodes epochs of one length, one vector each, rather than signals of any length.
    """
    data = meta.get("data") if isinstance(meta.get("data"), dict) else {}
    assert isinstance(data, dict)
    method = str(meta.get("method", "")).rpartition(".")[2] or "not recorded"
    licence = meta.get("licence")
    front = {
        "library_name": "sigssl",
        "license": licence or "unknown",
        "pipeline_tag": "feature-extraction",
        "tags": ["self-supervised", "sigssl", *([method.lower().replace(" ", "-")] if meta.get("method") else [])],
    }
    source = str(meta.get("source", ""))
    if source.startswith("hf:"):
        front["base_model"] = source.removeprefix("hf:").partition("@")[0]
    made = [*([f"{meta['updates']} updates"] if meta.get("updates") else []), *([f"from {source}"] if source else [])]
    lines = [
        "- Method: " + "; ".join([method, *made]) + ".",
        f"- Trained on: {_data(data)}",
        f"- Licence: {licence or 'not stated; ask whoever trained it before you pass it on'}.",
        f"- Input: {_rate(meta)}. {'Output: one vector per epoch.' if epochs else _output(meta)}",
    ]
    return front_text(front) + f"\n# {name}\n\n" + "\n".join(lines) + "\n\n" + (USE_EPOCHS if epochs else USE)


USE = """## Use
```python
import sigssl, torch

encoder = sigssl.load("FOLDER")  # the folder of this file
signal = torch.zeros(1, 1, encoder.sample_rate)  # [batch, channels, samples], one second
hidden = encoder(signal, torch.tensor([signal.shape[2]]))  # hidden.states: layers + 1 of [batch, frames, dim]; hidden.lengths
```
`sigssl embed --model FOLDER recordings/ OUT` writes the states of recordings; `sigssl probe --model FOLDER ...` evaluates them.
"""

USE_EPOCHS = """## Use
```python
import sigssl, torch

encoder = sigssl.load("FOLDER")  # the folder of this file
epochs = torch.zeros(2, encoder.channels, round(encoder.epoch_seconds * encoder.sample_rate))  # [batch, channels, samples]
vectors = encoder(epochs)  # [batch, dim]
```
`sigssl finetune sleep --model FOLDER ...` trains sleep staging on it. Research software, not a medical device.
"""


def _data(data: dict[str, Any]) -> str:
    if not data:
        return "not recorded."
    hours, speakers = data.get("hours"), data.get("speakers")
    parts = [
        Path(str(data["train"])).as_posix().rstrip("/").rpartition("/")[2] if data.get("train") else "a corpus without a name",
        f"{hours:.4g} hours" if hours is not None else "hours not recorded",
        *([f"{len(speakers)} speaker{'s' if len(speakers) > 1 else ''}"] if speakers else []),
    ]
    return ", ".join(parts) + "."


def _rate(meta: dict[str, Any]) -> str:
    return f"signals at {meta['sample_rate']} Hz" if meta.get("sample_rate") else "signals"


def _output(meta: dict[str, Any]) -> str:
    if not {"dim", "num_layers", "hop", "sample_rate"} <= meta.keys():
        return ""
    shift = 1000 * int(meta["hop"]) / int(meta["sample_rate"])
    return f"Output: {int(meta['num_layers']) + 1} states of {meta['dim']} values, one every {shift:g} ms."


def front_text(fields: dict[str, Any]) -> str:
    """Fields as the front matter of a Markdown file."""
    return f"{FENCE}\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}{FENCE}\n"


def front_matter(file: Path) -> dict[str, Any]:
    """The front matter of a Markdown file; empty where there is no file or no such matter, or it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    parts = text.split(f"{FENCE}\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        fields = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}
    return fields if isinstance(fields, dict) else {}
