"""The guard against bad data: unreadable files are listed, non-finite updates counted and the first kept; both have a limit."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import torch

from sigssl.data.dataset import Failure, PieceDataset
from sigssl.errors import UserError
from sigssl.training.tally import Skipped

log = logging.getLogger(__name__)


class Guard:
    """Watches what is read and what comes out of it.

    Args:
        out: run folder; gets quarantine.tsv (id, file, reason) and bad/update-N.pt.
        data: the training set, to read a bad batch again.
        bad_share: largest share of unreadable utterances; one is always allowed.
        limit: skipped updates that are allowed.
        rank: this process.

    Attributes:
        unreadable: ids set aside in this run of the program.
        skipped: updates skipped so far.
    """

    def __init__(self, out: Path, data: PieceDataset, bad_share: float, limit: int, rank: int = 0) -> None:
        self.out, self.data, self.bad_share, self.limit, self.rank = out, data, bad_share, limit, rank
        self.unreadable: set[str] = set()
        self.skipped = 0
        self.first = ""

    def failures(self, failed: Iterable[Failure]) -> None:
        """List utterances that could not be read, each once.

        Raises:
            UserError: there are too many.
        """
        for failure in failed:
            if failure.id in self.unreadable:
                continue
            self.unreadable.add(failure.id)
            log.warning("utterance %r is set aside: %s", failure.id, failure.reason)
            name = "quarantine.tsv" if self.rank == 0 else f"quarantine.{self.rank}.tsv"
            with (self.out / name).open("a", encoding="utf-8") as file:
                file.write(f"{failure.id}\t{failure.path}\t{' '.join(failure.reason.split())}\n")
        total = len(self.data) + len(self.data.failed)
        if len(self.unreadable) > max(1.0, self.bad_share * total):
            raise UserError(
                f"{len(self.unreadable)} of {total} utterances cannot be read, more than data.bad_share = {self.bad_share}; "
                f"they are listed in {self.out / 'quarantine.tsv'}. Run `sigssl validate --fix` on the data, or raise the limit."
            )

    def updates(self, skipped: list[Skipped]) -> None:
        """Count skipped updates and keep the batches of the first.

        Raises:
            UserError: there are too many.
        """
        if skipped and not self.first:
            ids = [self.data.piece(item).id for planned in skipped[0].batches for item in planned.items]
            kept = self._keep(skipped[0])
            some = ", ".join(ids[:8]) + (f" ... ({len(ids)} in all)" if len(ids) > 8 else "")
            self.first = f"update {skipped[0].update}, utterances {some}; the batch is kept in {kept}"
            log.warning("the gradient of %s is not finite; the update is skipped", self.first)
        self.skipped += len(skipped)
        if self.skipped > self.limit:
            raise UserError(
                f"{self.skipped} updates were skipped, their gradients not being finite: more than optim.non_finite_limit = "
                f"{self.limit}; the first: {self.first or 'in an earlier run'}. Look at that batch, lower optim.lr, or use 32-true."
            )

    def _keep(self, skipped: Skipped) -> Path:
        """Read the bad batches again (what a batch holds follows from its place in the order) and write them down."""
        path = self.out / "bad" / f"update-{skipped.update}{f'-rank{self.rank}' if self.rank else ''}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        batches = [(planned, self.data[planned].batch) for planned in skipped.batches]
        content = [{"position": list(p.position), "ids": list(b.ids), "x": b.x, "lengths": b.lengths} for p, b in batches]
        torch.save(content, path)
        return path
