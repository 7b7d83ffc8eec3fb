"""Statistics of a staged night: how long, how soon, how broken. Names as in the AASM manual; every formula is stated here.

"Sleep" is N1, N2, N3 and R. An unscored epoch (`?`) counts as neither sleep nor wake, so TIB - SOL - TST is not WASO where
there are any. The night is the window that the caller states (lights off to lights on, where they are known).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sigssl.data.stages import SLEEP, STAGES, UNSCORED, to_int

PERSISTENT = 5.0  # minutes of unbroken sleep that end SOL_5min

UNITS = {
    "TIB": "min",
    "SOL": "min",
    "SOL_5min": "min",
    "SPT": "min",
    "TST": "min",
    "WASO": "min",
    "WASO_SPT": "min",
    "SE": "%",
    "SME": "%",
    "REM_latency": "min",
    "REM_latency_record": "min",
    "awakenings": "",
    "SFI": "1/h",
    **{f"{stage}_min": "min" for stage in (*STAGES, "unscored")},
    **{f"{stage}_percent": "% of TST" for stage in SLEEP},
}
MEANING = {
    "TIB": "time in bed: all epochs of the window",
    "SOL": "sleep onset latency: window start to the first epoch of sleep",
    "SOL_5min": "latency to the first 5 minutes of unbroken sleep",
    "SPT": "sleep period: first to last epoch of sleep",
    "TST": "total sleep time: N1, N2, N3 and R",
    "WASO": "wake after sleep onset, to the end of the window",
    "WASO_SPT": "wake between the first and the last epoch of sleep",
    "SE": "sleep efficiency: TST of TIB",
    "SME": "sleep maintenance efficiency: TST of SPT",
    "REM_latency": "first sleep to first R",
    "REM_latency_record": "window start to first R",
    "awakenings": "transitions from sleep to wake",
    "SFI": "sleep fragmentation index: awakenings per hour of TST",
    **{f"{stage}_min": f"time in {stage}" for stage in STAGES},
    "unscored_min": "time unscored",
    **{f"{stage}_percent": f"{stage} of TST" for stage in SLEEP},
}


def sleep_statistics(stages: Sequence[str], epoch: float = 30.0) -> dict[str, float]:
    """Statistics of one night.

    Args:
        stages: one token per epoch of the window: W, N1, N2, N3, R, or ? for unscored.
        epoch: its length in seconds.

    Returns:
        The statistics of :data:`UNITS`, in that order, unrounded. What a night does not define is NaN: latencies, SPT's shares,
        WASO and SFI without any sleep, REM latencies without R, everything but the counts of an empty night.

    Raises:
        UserError: a token that is none of these.
    """
    codes = to_int(stages)
    minutes = epoch / 60
    sleep, wake = codes > 0, codes == 0
    found, rem = np.flatnonzero(sleep), np.flatnonzero(codes == STAGES.index("R"))
    first, last = (int(found[0]), int(found[-1])) if len(found) else (0, -1)
    tst, spt, tib = len(found) * minutes, (last - first + 1) * minutes, len(codes) * minutes
    awakenings = int(np.count_nonzero(sleep[:-1] & wake[1:]))
    none = float("nan")
    slept, dreamt = bool(len(found)), bool(len(rem))
    values = {
        "TIB": tib,
        "SOL": first * minutes if slept else none,
        "SOL_5min": _first_run(sleep, PERSISTENT / minutes) * minutes,
        "SPT": spt,
        "TST": tst,
        "WASO": int(wake[first:].sum()) * minutes if slept else none,
        "WASO_SPT": int(wake[first : last + 1].sum()) * minutes if slept else none,
        "SE": 100 * tst / tib if len(codes) else none,
        "SME": 100 * tst / spt if slept else none,
        "REM_latency": (int(rem[0]) - first) * minutes if dreamt else none,
        "REM_latency_record": int(rem[0]) * minutes if dreamt else none,
        "awakenings": float(awakenings),
        "SFI": awakenings / (tst / 60) if slept else none,
    }
    counts = {stage: int((codes == number).sum()) for number, stage in enumerate(STAGES)} | {UNSCORED: int((codes < 0).sum())}
    values |= {f"{'unscored' if stage == UNSCORED else stage}_min": count * minutes for stage, count in counts.items()}
    return values | {f"{stage}_percent": 100 * counts[stage] / len(found) if slept else none for stage in SLEEP}


def transitions(stages: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Transitions between adjacent scored epochs.

    Args:
        stages: one token per epoch; a pair with an unscored epoch is no transition.

    Returns:
        Counts [5, 5], from (rows) W, N1, N2, N3, R to (columns) the same, and the rows' shares (NaN where a stage is never left).
    """
    codes = to_int(stages)
    before, after = codes[:-1], codes[1:]
    scored = (before >= 0) & (after >= 0)
    counts = np.bincount(5 * before[scored] + after[scored], minlength=25).reshape(5, 5)
    totals = counts.sum(1, keepdims=True)
    return counts, np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)


def _first_run(mask: np.ndarray, length: float) -> float:
    """Index of the first run of at least `length` (rounded up) true values; NaN where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    long = np.flatnonzero(ends - starts >= int(np.ceil(length - 1e-9)))
    return float(starts[long[0]]) if len(long) else float("nan")
