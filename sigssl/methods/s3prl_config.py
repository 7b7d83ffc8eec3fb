"""s3prl's model configuration (`transformer`, `task`, `audio`) <-> the objects it describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sigssl.errors import UserError
from sigssl.features import Deltas, Extractor, GlobalCMVN, KaldiFbank, LogMel
from sigssl.methods.encoder import FrameEncoder
from sigssl.methods.tera import TERA
from sigssl.nn import TransformerEncoder
from sigssl.views import Alter

Config = Mapping[str, Any]
RATE = 16000  # the only one s3prl knows
# torchaudio's names of Kaldi's options, as s3prl's `audio.kaldi.fbank` gives them -> ours
FBANK = {
    "num_mel_bins": "n_mels",
    "frame_length": "window_ms",
    "frame_shift": "hop_ms",
    "window_type": "window_type",
    "preemphasis_coefficient": "preemphasis",
    "remove_dc_offset": "remove_dc",
    "snip_edges": "snip_edges",
    "low_freq": "low_hz",
    "high_freq": "high_hz",
    "use_energy": "use_energy",
    "raw_energy": "raw_energy",
    "energy_floor": "energy_floor",
    "htk_compat": "htk_compat",
    "use_log_fbank": "use_log",
    "use_power": "use_power",
    "dither": "dither",
}
FLOATS = {"window_ms", "hop_ms", "preemphasis", "low_hz", "high_hz", "energy_floor", "dither"}


def make_tera(config: Config, *, where: str, head_dim: int | None = None) -> TERA:
    """The method that an s3prl configuration describes, with fresh weights.

    Args:
        config: `transformer`, `task` and `audio` (the oldest files keep the masking in `transformer` and the features in `online`).
        where: file named in errors.
        head_dim: width that the stored head predicts; where it is not the input's, the target is read from `audio`.

    Raises:
        UserError: a setting that cannot be expressed.
    """
    net, task = config["transformer"], config.get("task") or config["transformer"]
    audio = config.get("audio") or config.get("online")
    if not audio:
        raise UserError(
            f"{where}: was trained on features stored beforehand, and says not how they were made; only its tensors can be used "
            f"(sigssl.methods.s3prl_layout.read_s3prl)."
        )
    if int(net.get("downsample_rate") or 1) != 1:
        raise UserError(f"{where}: stacks {net['downsample_rate']} frames into one, which the current s3prl and sigssl do not.")
    features = _features(audio, "input", where)
    body = _body(net, features.dim, where)
    encoder = FrameEncoder(features, body, window=int(task.get("sequence_length") or 0) or 3000)
    target = None
    if head_dim is not None and head_dim != features.dim:
        target = _features(audio, "target", where)
        if target.dim != head_dim:
            raise UserError(f"{where}: the head predicts {head_dim} values, the target feature has {target.dim}.")
    loss: Literal["l1", "mse"] = "mse" if str(task.get("loss", "L1")) == "MSE" else "l1"
    return TERA(encoder, _alter(task, features.dim), loss=loss, target=target)


def _body(net: Config, input_dim: int, where: str) -> TransformerEncoder:
    known = {"hidden_act": "gelu", "pre_layer_norm": False, "layer_norm_eps": 1e-12}
    for name, value in known.items():
        given = net.get(name, value)
        if (float(given) if name == "layer_norm_eps" else given) != value:
            raise UserError(f"{where}: transformer.{name} is {given!r}; only {value!r} can be read.")
    return TransformerEncoder(
        input_dim,
        dim=int(net["hidden_size"]),
        layers=int(net["num_hidden_layers"]),
        heads=int(net["num_attention_heads"]),
        ffn=int(net["intermediate_size"]),
        dropout=float(net["hidden_dropout_prob"]),
        attention_dropout=float(net["attention_probs_dropout_prob"]),
        share_layers=bool(net.get("share_layer", False)),
    )


def _alter(task: Config, bins: int) -> Alter:
    width = int(task.get("mask_consecutive_min") or task.get("mask_consecutive") or 7)
    widest = int(task.get("mask_consecutive_max") or width)
    freq = float(task.get("mask_frequency") or 0)
    return Alter(
        time=float(task.get("mask_proportion", 0.15)),
        width=width,
        max_width=widest if widest > width else None,
        overlap=bool(task.get("mask_allow_overlap", True)),
        spacing=float(task.get("mask_bucket_ratio", 1.5)),
        freq=freq / bins if freq > 1 else freq,  # the oldest files count bins
        magnitude=float(task.get("noise_proportion") or 0),
    )


def _features(audio: Config, role: str, where: str) -> Extractor:
    if "kaldi" in audio:
        return _kaldi(audio, where)
    if role not in audio:
        raise UserError(f"{where}: audio names no {role!r} feature.")
    wanted = audio[role]
    kind = str(wanted["feat_type"])
    if kind not in ("mel", "linear") or not wanted.get("log", False):
        raise UserError(
            f"{where}: audio.{role}.feat_type {kind!r}, log {wanted.get('log')}: only log mel and log linear can be made."
        )
    level, delta = audio.get("target_level"), int(wanted.get("delta", 0))
    return LogMel(
        n_mels=int(audio["n_mels"]) if kind == "mel" else None,
        sample_rate=int(audio.get("sample_rate", RATE)),
        window_ms=float(audio["win_ms"]),
        hop_ms=float(audio["hop_ms"]),
        n_fft=(int(audio["n_freq"]) - 1) * 2,
        loudness=None if level in (None, "None") else float(level),
        deltas=Deltas(delta, edges="each") if delta else None,
        cmvn="utterance" if wanted.get("cmvn", False) else None,
    )


def _kaldi(audio: Config, where: str) -> KaldiFbank:
    if audio["kaldi"].get("feat_type", "fbank") != "fbank":
        raise UserError(f"{where}: audio.kaldi.feat_type {audio['kaldi']['feat_type']!r}: only fbank can be made.")
    options = {"num_mel_bins": 23, **audio["kaldi"].get("fbank", {})}
    unknown = options.keys() - FBANK.keys()
    if unknown:
        raise UserError(f"{where}: audio.kaldi.fbank has options without a counterpart here: {', '.join(sorted(unknown))}.")
    mapped: dict[str, Any] = {FBANK[name]: float(value) if FBANK[name] in FLOATS else value for name, value in options.items()}
    delta = audio.get("delta") or {}
    order = int(delta.get("order", 2))
    deltas = Deltas(order, window=(int(delta.get("win_length", 5)) - 1) // 2, edges="each") if order else None
    cmvn: Literal["utterance"] | None = "utterance" if (audio.get("cmvn") or {}).get("use_cmvn") else None
    return KaldiFbank(**mapped, scale=1.0, deltas=deltas, cmvn=cmvn)


def describe_tera(method: TERA) -> dict[str, Any]:
    """The configuration with which s3prl builds the same model.

    Raises:
        UserError: settings that s3prl has no word for, each named.
    """
    encoder, alter, body = method.encoder, method.alter, method.encoder.body
    if body.norm != "post":
        raise UserError(f"s3prl export: norm {body.norm!r}; expected 'post', as every published model has.")
    transformer = {
        "hidden_size": body.dim,
        "num_hidden_layers": body.layers,
        "num_attention_heads": body.heads,
        "hidden_act": "gelu",
        "intermediate_size": body.ffn,
        "hidden_dropout_prob": body.dropout,
        "attention_probs_dropout_prob": body.attention_dropout,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "share_layer": body.share_layers,
        "pre_layer_norm": False,
    }
    task = {
        "loss": "L1" if method.loss == "l1" else "MSE",
        "sequence_length": encoder.window,
        "position_encoding_size": body.dim,
        "mask_proportion": alter.time,
        "mask_consecutive_min": alter.width,
        "mask_consecutive_max": alter.max_width or alter.width,
        "mask_allow_overlap": alter.overlap,
        "mask_bucket_ratio": alter.spacing,
        "mask_frequency": alter.freq,
        "noise_proportion": alter.magnitude,
    }
    return {"transformer": transformer, "task": task, "audio": _audio(encoder.features, method.target)}


def _audio(features: Extractor, target: Extractor | None) -> dict[str, Any]:
    if isinstance(features, KaldiFbank) and target is None:
        return _kaldi_audio(features)
    if not isinstance(features, LogMel) or not isinstance(target, LogMel | None):
        raise UserError(f"s3prl export: features {type(features).__name__}; expected LogMel or KaldiFbank.")
    made = _log_audio(features, "input")
    if target is not None:
        made = {**_log_audio(target, "target"), **made}
        if target.n_mels not in (None, features.n_mels):
            raise UserError(f"s3prl export: target n_mels {target.n_mels}; expected the input's {features.n_mels}, or None.")
    return {**made, "target": made.get("target", made["input"])}


def _log_audio(features: LogMel, role: str) -> dict[str, Any]:
    size = features.n_fft or round(features.sample_rate * features.window_ms / 1000)
    fixed = {"sample_rate": RATE, "low_hz": 0.0, "high_hz": None, "floor": 1e-10}
    _same(features, fixed)
    if features.loudness is None:
        raise UserError("s3prl export: features.loudness None; expected a level in dB, which s3prl's extraction cannot switch off.")
    _normalised(features)
    wanted = {
        "feat_type": "linear" if features.n_mels is None else "mel",
        "channel": 0,
        "log": True,
        "delta": features.deltas.order if features.deltas else 0,
        "cmvn": features.cmvn == "utterance",
    }
    return {
        "target_level": features.loudness,
        "win_ms": features.window_ms,
        "hop_ms": features.hop_ms,
        "n_freq": size // 2 + 1,
        "n_mels": features.n_mels or 80,
        "n_mfcc": 13,
        role: wanted,
    }


def _kaldi_audio(features: KaldiFbank) -> dict[str, Any]:
    _same(features, {"sample_rate": RATE, "scale": 1.0})
    _normalised(features)
    deltas = features.deltas
    return {
        "kaldi": {"feat_type": "fbank", "fbank": {name: getattr(features, ours) for name, ours in FBANK.items()}},
        "delta": {"order": deltas.order if deltas else 0, "win_length": 2 * deltas.window + 1 if deltas else 5},
        "cmvn": {"use_cmvn": features.cmvn == "utterance"},
    }


def _normalised(features: Extractor) -> None:
    if features.cmvn not in ("utterance", None):
        found = "of fixed statistics" if isinstance(features.cmvn, GlobalCMVN) else repr(features.cmvn)
        raise UserError(f"s3prl export: features.cmvn {found}; expected 'utterance' or None.")


def _same(features: Extractor, fixed: Config) -> None:
    for name, value in fixed.items():
        if getattr(features, name) != value:
            raise UserError(f"s3prl export: features.{name} {getattr(features, name)!r}; s3prl knows only {value!r}.")
