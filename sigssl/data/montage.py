"""Which channels are wanted, and under which names recordings have them: picked by name and never by position."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sigssl.data.psg_base import PSG, Channel
from sigssl.errors import UserError, nearest

SHIPPED = Path(__file__).with_name("channels.yaml")


class Pick(NamedTuple):
    """The channel that was taken for a wanted one.

    Attributes:
        name: the wanted channel.
        source: what it is in the file, for a report: `EEG Fpz-Cz`, `C4 - M1`, `-(M1-C4)`.
        sign: 1 or -1, what `plus` is multiplied by.
        derived: whether it is computed from several.
        rate: samples per second in the file.
        unit: in the file.
        plus: channel of the file. minus: channels whose mean is subtracted.
    """

    name: str
    source: str
    sign: int
    derived: bool
    rate: float
    unit: str
    plus: str
    minus: tuple[str, ...] = ()


class Montage:
    """Wanted channels, each with the names or differences that it may come from, best first.

    Args:
        channels: name -> alternatives: a label, `{"difference": [A, B]}` (B a label or several, whose mean is meant), or
            `{"inverse": A}`.
        where: what to call it in messages.

    Raises:
        UserError: an alternative of another form.
    """

    def __init__(self, channels: dict[str, Any], where: str = "montage") -> None:
        self.channels = channels
        self.where = where
        for name, alternatives in channels.items():
            if not isinstance(alternatives, list) or not alternatives:
                raise UserError(f"{where}: {name}: expected a list of labels, got {alternatives!r}.")
            for alternative in alternatives:
                _terms(alternative, f"{where}: {name}")

    @classmethod
    def read(cls, name: str | Path) -> Montage:
        """A montage of the shipped file by its name (`sleep_edf`), or a YAML file of the same form.

        Raises:
            UserError: no such montage or file, or one of another form.
        """
        path = Path(name)
        if path.suffix.lower() in (".yaml", ".yml"):
            found = _load(path)
            return cls({str(key): value for key, value in found.items()}, str(path))
        shipped = _shipped()
        if str(name) not in shipped:
            raise UserError(
                f"no montage {str(name)!r}.{nearest(str(name), shipped)} There are: {', '.join(shipped)}; or name a YAML file."
            )
        return cls(shipped[str(name)], f"montage {name}")

    @classmethod
    def of(cls, labels: Iterable[str]) -> Montage:
        """The montage of these labels under their own names."""
        return cls({label: [label] for label in labels}, "channels")

    @property
    def names(self) -> list[str]:
        """The wanted channels, in order."""
        return list(self.channels)

    def select(self, names: Iterable[str]) -> Montage:
        """The montage of some of its channels, in the order given.

        Raises:
            UserError: one that it lacks.
        """
        chosen = {}
        for name in names:
            if name not in self.channels:
                raise UserError(
                    f"{self.where}: no channel {name!r}.{nearest(name, self.channels)} It has {', '.join(self.channels)}."
                )
            chosen[name] = self.channels[name]
        return Montage(chosen, self.where)

    def pick(self, psg: PSG) -> list[Pick]:
        """Find each wanted channel in a recording.

        Raises:
            UserError: one is not there, or several channels of the file fit equally.
        """
        labels = _Labels(psg)
        return [self._pick(name, labels) for name in self.channels]

    def _pick(self, name: str, labels: _Labels) -> Pick:
        for alternative in self.channels[name]:
            plus, minus, sign = _terms(alternative, self.where)
            channels = [labels.find(label) for label in (plus, *minus)]
            if None in channels:
                continue
            first, *rest = (channel for channel in channels if channel is not None)
            rates = {channel.rate for channel in (first, *rest)}
            if len(rates) > 1:
                raise UserError(
                    f"{labels.psg.path}: {name} would be {_said(first, rest, sign)}, which have "
                    f"{' and '.join(f'{r:g}' for r in rates)} samples per second. Name another source for it."
                )
            said = _said(first, rest, sign)
            return Pick(name, said, sign, bool(rest), first.rate, first.unit, first.name, tuple(other.name for other in rest))
        there = [channel.name for channel in labels.psg.channels]
        tried = [alternative for alternative in self.channels[name] if isinstance(alternative, str)]
        raise UserError(
            f"{labels.psg.path}: no channel for {name}; looked for {', '.join(map(_written, self.channels[name]))} ({self.where})."
            f"{nearest(tried[0] if tried else name, there)} There are: {', '.join(there)}."
        )


class _Labels:
    """The channels of a recording by what counts in their labels."""

    def __init__(self, psg: PSG) -> None:
        self.psg = psg
        self.exact = {channel.name: channel for channel in psg.channels}
        self.folded: dict[str, list[Channel]] = {}
        for channel in psg.channels:
            for label in {_folded(channel.name), _folded(channel.name.rsplit("#", 1)[0])}:
                self.folded.setdefault(label, []).append(channel)

    def find(self, label: str) -> Channel | None:
        """The channel with a label; None for none."""
        if label in self.exact:
            return self.exact[label]
        found = self.folded.get(_folded(label), [])
        if len(found) > 1:
            names = ", ".join(channel.name for channel in found)
            raise UserError(
                f"{self.psg.path}: {label!r} may be any of {names}. Name the one that is meant in a montage of your own."
            )
        return found[0] if found else None


def _folded(label: str) -> str:
    text = " ".join(label.split()).casefold()
    text = text.removeprefix("eeg ") or text
    return text.replace(" ", "").rstrip(".")


def _terms(alternative: Any, where: str) -> tuple[str, tuple[str, ...], int]:
    """The label that is added, those subtracted, and the sign, of an alternative."""
    if isinstance(alternative, str):
        return alternative, (), 1
    if isinstance(alternative, dict) and len(alternative) == 1:
        ((kind, value),) = alternative.items()
        if kind == "inverse" and isinstance(value, str):
            return value, (), -1
        if kind == "difference" and isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
            minus = value[1] if isinstance(value[1], list) else [value[1]]
            if minus and all(isinstance(label, str) for label in minus):
                return value[0], tuple(minus), 1
    raise UserError(f"{where}: {alternative!r}: expected a label, {{difference: [A, B]}} or {{inverse: A}}.")


def _said(plus: Channel, minus: list[Channel], sign: int) -> str:
    if not minus:
        return plus.name if sign > 0 else f"-({plus.name})"
    names = " + ".join(channel.name for channel in minus)
    return f"{plus.name} - {names}" if len(minus) == 1 else f"{plus.name} - ({names})/{len(minus)}"


def _written(alternative: Any) -> str:
    plus, minus, sign = _terms(alternative, "")
    if minus:
        return f"{plus} - {' + '.join(minus)}"
    return plus if sign > 0 else f"-({plus})"


def _load(path: Path) -> dict[Any, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected lines 'CHANNEL: [LABEL, ...]', got {type(found).__name__}.")
    return found


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    return _load(SHIPPED)
