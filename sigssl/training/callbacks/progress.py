"""The progress of a run: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import logging
import sys
import time

from tqdm import tqdm

log = logging.getLogger(__name__)
PAUSE = 30.0  # seconds between lines where there is no terminal


class Progress:
    """Shows updates, loss, hours of signal per second, and the share of time that data were waited for.

    Args:
        total: updates of the run.
        start: updates done before.
        bar: show a bar, where standard error is a terminal.
        first: whether this is the first rank; the others show nothing.
    """

    def __init__(self, total: int, start: int, bar: bool, first: bool = True) -> None:
        self.total, self.first = total, first
        bar = bar and first
        self._bar = tqdm(total=total, initial=start, unit="update", dynamic_ncols=True) if bar and sys.stderr.isatty() else None
        self._said = time.monotonic()

    def advance(self) -> None:
        """One update is done."""
        if self._bar is not None:
            self._bar.update()

    def show(self, row: dict[str, float]) -> None:
        """Show a row of measurements."""
        speed, wait = row.get("hours_per_second", 0.0), row.get("data_wait", 0.0)
        text = f"loss {row.get('loss', float('nan')):.4f}, {speed:.4f} h/s, data wait {wait:.0%}"
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        elif self.first and (time.monotonic() - self._said > PAUSE or row["step"] >= self.total):
            self._said = time.monotonic()
            log.info("update %d of %d: %s", row["step"], self.total, text)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
