"""Log-probabilities on disk: `logprobs.scp` and arks as every store, `logprobs.json` of kind "logprobs", and `tokens.json`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigssl.asr.ctc import check
from sigssl.asr.tokens import Tokens
from sigssl.data.ark import ArkWriter, StoreInfo, merge, read_matrix, read_scp
from sigssl.errors import UserError

NAME, TOKENS = "logprobs", "tokens.json"


class LogProbWriter:
    """Write the log-probabilities of utterances into a folder that `sigssl decode` and `sigssl align` read.

    Args:
        folder: made if needed; a run that was killed goes on where it was (`done`).
        tokens: what the columns are.
        frame_shift: seconds from one row to the next.
        sample_rate: of the recordings, in hertz.
        config: what computed them (model, checkpoint), for the record.
    """

    def __init__(
        self, folder: Path | str, tokens: Tokens, frame_shift: float, sample_rate: int, config: dict[str, Any] | None = None
    ) -> None:
        self.folder, self.tokens = Path(folder), tokens
        self._ark = ArkWriter(folder, NAME, part=1)
        self.done = self._ark.done
        tokens.save(self.folder / TOKENS)
        StoreInfo(NAME, len(tokens), frame_shift, sample_rate, "ln probability", config or {}).write(folder, NAME)

    def __enter__(self) -> LogProbWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ark.close()
        merge(self.folder, NAME)

    def write(self, id: str, log_probs: Tensor) -> None:
        """Append one utterance [T, V], its padding cut off.

        Raises:
            UserError: no log-probabilities of these tokens, or an id that is stored already.
        """
        check(log_probs, len(self.tokens), id)
        self._ark.write(id, log_probs.detach().cpu().numpy().astype(np.float32))


class LogProbs(NamedTuple):
    """A store that was opened: utterance -> rxfile, tokens, and seconds per frame."""

    scp: dict[str, str]
    tokens: Tokens
    frame_shift: float

    @classmethod
    def open(cls, folder: Path | str) -> LogProbs:
        """Open a folder.

        Raises:
            UserError: it holds no log-probabilities, or its description does not fit its tokens.
        """
        folder = Path(folder)
        if not (folder / f"{NAME}.scp").is_file():
            raise UserError(f"{folder}: no {NAME}.scp, so it is no folder of log-probabilities; expected one beside {TOKENS}.")
        info, tokens = StoreInfo.read(folder, NAME), Tokens.load(folder / TOKENS)
        if info.kind != NAME or info.dim != len(tokens) or not info.frame_shift:
            raise UserError(
                f"{folder}/{NAME}.json: kind {info.kind!r}, dim {info.dim}, frame_shift {info.frame_shift}; expected "
                f"kind {NAME!r}, the {len(tokens)} tokens of {TOKENS}, and seconds per frame."
            )
        return cls(read_scp(folder / f"{NAME}.scp"), tokens, info.frame_shift)

    def read(self, id: str) -> Tensor:
        """The log-probabilities of an utterance [T, V].

        Raises:
            UserError: the file is missing or damaged, or holds something else.
        """
        rows = torch.from_numpy(np.array(read_matrix(self.scp[id])))
        check(rows, len(self.tokens), id)
        return rows


def padded(matrices: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Matrices [T, V] as one batch [B, T, V], and their lengths."""
    some = list(matrices)
    return torch.nn.utils.rnn.pad_sequence(some, batch_first=True), torch.tensor([len(rows) for rows in some])
