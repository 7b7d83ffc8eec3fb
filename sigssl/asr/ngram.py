"""N-gram language models in ARPA's format: read, write, ask. A dict in memory, for models of up to some million n-grams."""

from __future__ import annotations

import gzip
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sigssl.data.io import whole
from sigssl.errors import UserError

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
LN10 = math.log(10.0)
NEVER = -99.0  # log10 of the probability of <s>, by convention
UNSEEN = -100.0 * LN10  # of a word that a model without <unk> lacks, as KenLM has it

Gram = tuple[str, ...]


@dataclass(frozen=True)
class NGram:
    """A back-off model: ln P(w | h) is stored, or is backoff(h) + ln P(w | h without its first word).

    Attributes:
        order: longest n-gram.
        prob: n-gram -> ln P(last | the others).
        backoff: n-gram -> ln of its back-off weight; 0 where absent.
    """

    order: int
    prob: dict[Gram, float]
    backoff: dict[Gram, float]

    def has(self, word: str) -> bool:
        """Whether the model knows a word."""
        return (word,) in self.prob

    def known(self, word: str) -> str:
        """The word itself, or `<unk>` where the model lacks it."""
        return word if (word,) in self.prob else UNKNOWN

    def state(self, history: Gram, word: str) -> Gram:
        """The history after one more word: as many words as the model looks back."""
        return (*history, self.known(word))[1 - self.order :] if self.order > 1 else ()

    def score(self, history: Gram, word: str) -> float:
        """Score ln P(word | history); a history begins as `("<s>",)` and goes on by :meth:`state`."""
        word, total = self.known(word), 0.0
        history = history[1 - self.order :] if self.order > 1 else ()
        while (found := self.prob.get((*history, word))) is None:
            if not history:
                return total + UNSEEN
            total += self.backoff.get(history, 0.0)
            history = history[1:]
        return total + found

    def sentence(self, words: Iterable[str]) -> float:
        """Score ln P of a whole sentence, its end included."""
        history, total = self.start(), 0.0
        for word in words:
            total += self.score(history, word)
            history = self.state(history, word)
        return total + self.score(history, END)

    def start(self) -> Gram:
        """The history at the beginning of a sentence."""
        return (START,)

    def words(self) -> list[str]:
        """The words that it knows, sorted, without the three signs."""
        return sorted(gram[0] for gram in self.prob if len(gram) == 1 and gram[0] not in (START, END, UNKNOWN))

    def write(self, path: Path | str) -> None:
        """Write an ARPA file, sorted, whole; gzipped where its name ends in .gz."""
        with whole(path) as temporary, _open(temporary, "w") as file:
            grams: list[list[Gram]] = [[] for _ in range(self.order)]
            for gram in self.prob:
                grams[len(gram) - 1].append(gram)
            file.write("\\data\\\n" + "".join(f"ngram {n}={len(some)}\n" for n, some in enumerate(grams, 1)))
            for n, some in enumerate(grams, 1):
                file.write(f"\n\\{n}-grams:\n")
                for gram in sorted(some):
                    weight = f"\t{self.backoff[gram] / LN10:.7g}" if gram in self.backoff else ""
                    file.write(f"{self.prob[gram] / LN10:.7g}\t{' '.join(gram)}{weight}\n")
            file.write("\n\\end\\\n")

    @classmethod
    def read(cls, path: Path | str) -> NGram:
        """Read an ARPA file, plain or gzipped.

        Raises:
            UserError: no such file, a line that cannot be understood, or another number of n-grams than it announces.
        """
        try:
            with _open(Path(path), "r") as file:
                return _Reader(Path(path)).read(file)
        except FileNotFoundError:
            raise UserError(f"{path}: no such language model. 'sigssl lm TEXT OUT.arpa' builds one.") from None
        except (UnicodeDecodeError, OSError) as error:
            raise UserError(f"{path}: cannot be read as an ARPA file: {error}") from None


class _Reader:
    """The lines of an ARPA file, one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.announced: dict[int, int] = {}
        self.found: dict[int, int] = {}
        self.prob: dict[Gram, float] = {}
        self.backoff: dict[Gram, float] = {}

    def read(self, file: io.TextIOWrapper) -> NGram:
        """The model that the lines hold."""
        section, ended = 0, False
        for number, line in enumerate(file, 1):
            line = line.strip()
            if head := re.fullmatch(r"\\(\d+)-grams:", line):
                section = int(head[1])
            elif count := re.fullmatch(r"ngram\s+(\d+)\s*=\s*(\d+)", line):
                self.announced[int(count[1])] = int(count[2])
            elif line == "\\end\\":
                ended = True
                break
            elif line and section:
                self._gram(number, section, line.split())
        if not ended or not self.announced or self.announced != {n: self.found.get(n, 0) for n in self.announced}:
            lacks = "" if ended else ", and has no line \\end\\"
            raise UserError(
                f"{self.path}: announces n-grams {self.announced}, holds {self.found}{lacks}: no ARPA file, or one cut short. "
                f"Build or copy it again."
            )
        return NGram(max(self.announced), self.prob, self.backoff)

    def _gram(self, number: int, section: int, fields: Sequence[str]) -> None:
        gram = tuple(fields[1 : section + 1])
        try:
            if len(fields) not in (section + 1, section + 2):
                raise ValueError(f"{len(fields)} fields")
            self.prob[gram] = float(fields[0]) * LN10
            if len(fields) == section + 2:
                self.backoff[gram] = float(fields[-1]) * LN10
        except ValueError as error:
            raise UserError(f"{self.path}:{number}: {error}; expected log10, {section} words and perhaps a back-off.") from None
        self.found[section] = self.found.get(section, 0) + 1


def _open(path: Path, mode: Literal["r", "w"]) -> io.TextIOWrapper:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.GzipFile(path, mode), encoding="utf-8")
    return path.open(mode, encoding="utf-8")
