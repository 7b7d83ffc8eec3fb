"""Training and selecting probes on examples [N, L, P]: learning-rate sweep, choice on validation rows, refit, prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sigssl.downstream.heads import Adam, Bank, bank_loss, knn_votes, minimise
from sigssl.downstream.protocol import Split
from sigssl.downstream.settings import ProbeSettings

BLOCK = 8192  # rows standardised or predicted at a time
GRADIENT = ("linear", "hidden")  # heads trained by steps at a learning rate, for a number of epochs
MOST_KNOWN = 50_000  # training rows that kNN keeps; more are thinned evenly


@dataclass(frozen=True)
class Examples:
    """Features and classes of all items of a probe.

    Attributes:
        x: [rows, L, P], an array or a memory map.
        y: class numbers [rows]; -1 where the class does not occur in the training data, -2 on frames without a label.
        spans: item i owns rows spans[i, 0]:spans[i, 1] (one row for each item at utterance level).
        classes: number of classes K.
    """

    x: np.ndarray
    y: np.ndarray
    spans: np.ndarray
    classes: int

    def rows(self, items: np.ndarray) -> np.ndarray:
        """Numbers of the labelled rows of `items`, item by item."""
        rows = np.concatenate([np.arange(*self.spans[i]) for i in items])
        return rows[self.y[rows] != -2]


class Scale(NamedTuple):
    """Standardisation by training statistics, for each layer and feature [L, P]."""

    mean: Tensor
    std: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Standardise rows [n, L, P]."""
        return (x - self.mean) / self.std


class Choice(NamedTuple):
    """What validation chose. `layer` is None for the sum of all or all joined; `k` is for kNN, the rest for trained heads."""

    layer: int | None
    lr: float = 0.0
    l2: float = 0.0
    epochs: int = 0
    k: int = 0
    accuracy: float = 0.0


class Fitted(NamedTuple):
    """A probe ready to predict, and the weights of its layers [L] where it has learned any."""

    choice: Choice
    scale: Scale
    bank: Bank | None
    known: tuple[Tensor, Tensor] | None
    layer_weights: np.ndarray | None


def select(examples: Examples, inner: Sequence[Split], head: str, settings: ProbeSettings) -> Choice:
    """Choose layer, learning rate, penalty, epochs or k by the mean validation accuracy over the inner splits.

    Args:
        examples: features and classes; only the rows of `inner` are read.
        inner: pairs of item numbers (train, validation).
        head: one of the settings' heads.
        settings: what is tried.

    Returns:
        The best; ties go to the lower validation loss.
    """
    best: tuple[float, float, Choice] | None = None
    for layer in layers_tried(examples.x.shape[1], settings.layers, head):
        runs = [_scores(examples, split, layer, head, settings) for split in inner]
        length = max(accuracy.shape[1] for _, accuracy, _ in runs)
        accuracy = np.mean([_extend(a, length) for _, a, _ in runs], axis=0)
        loss = np.mean([_extend(b, length) for _, _, b in runs], axis=0)
        for index, choice in enumerate(runs[0][0]):
            epoch = min(range(length), key=lambda e, i=index: (-accuracy[i, e], loss[i, e]))  # type: ignore[misc]
            found = (accuracy[index, epoch], -loss[index, epoch])
            if best is None or found > best[:2]:
                epochs = epoch + 1 if head in GRADIENT else 0
                best = (*found, choice._replace(epochs=epochs, accuracy=float(accuracy[index, epoch])))
    assert best is not None
    return best[2]


def fit(examples: Examples, items: np.ndarray, choice: Choice, head: str, settings: ProbeSettings, seed: int) -> Fitted:
    """Train one probe on `items` with the chosen settings, for the chosen number of epochs."""
    rows = examples.rows(items)
    scale = scale_of(examples.x, rows, choice.layer)
    if head == "knn":
        return Fitted(choice, scale, None, _known(examples, rows, choice.layer, scale), None)
    bank = _bank(examples, choice.layer, 1, head, settings, seed)
    if head == "logistic":
        minimise(bank, _take(examples.x, rows, choice.layer, scale), _classes(examples.y, rows), torch.tensor([choice.l2]))
    optimiser = Adam(bank, torch.tensor([choice.lr]), torch.tensor([choice.l2]))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(choice.epochs):
        _epoch(examples, rows, choice.layer, scale, bank, optimiser, settings.batch_size, generator)
    weights = bank.layer_weights()[0].numpy() if bank.layers > 1 else None
    return Fitted(choice, scale, bank, None, weights)


def predict(fitted: Fitted, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Class numbers of `rows` of `x`; no class is passed in, so none can matter."""
    out = []
    for block in _blocks(rows):
        features = _take(x, block, fitted.choice.layer, fitted.scale)
        if fitted.bank is not None:
            with torch.no_grad():
                out.append(fitted.bank(features)[0].argmax(-1))
        else:
            assert fitted.known is not None
            known, target = fitted.known
            out.append(knn_votes(known, target, features[:, 0], (fitted.choice.k,), int(target.max()) + 1)[0].argmax(-1))
    return torch.cat(out).numpy() if out else np.empty(0, dtype=np.int64)


def layers_tried(count: int, layers: str | int, head: str) -> list[int | None]:
    """Layers to choose from: None is the weighted sum, which heads trained by gradient learn, or all joined; others choose one."""
    if layers == "joined":
        return [None]
    if count == 1 or isinstance(layers, int):
        return [min(layers, count - 1) if isinstance(layers, int) else 0]
    if layers == "weighted" and head in GRADIENT:
        return [None]
    return list(range(count))


def scale_of(x: np.ndarray, rows: np.ndarray, layer: int | None) -> Scale:
    """Mean and standard deviation over `rows`, in float64 and one block at a time; features that never vary keep std 1."""
    total = square = torch.zeros(1, dtype=torch.float64)
    shift = _gather(x, rows[:1], layer).double()  # near the mean, so that the sum of squares loses nothing
    for block in _blocks(rows):
        values = _gather(x, block, layer).double() - shift
        total = total + values.sum(0)
        square = square + values.square().sum(0)
    mean = total / len(rows)
    variance = (square / len(rows) - mean.square()).clamp(min=0)
    std = variance.sqrt().float()
    return Scale((mean + shift[0]).float(), torch.where(std > 1e-8, std, 1.0))


def _scores(
    examples: Examples, split: Split, layer: int | None, head: str, settings: ProbeSettings
) -> tuple[list[Choice], np.ndarray, np.ndarray]:
    """The choices that one layer offers, and their validation accuracy and loss at every epoch [choices, epochs]."""
    train, dev = examples.rows(split[0]), examples.rows(split[1])
    scale = scale_of(examples.x, train, layer)
    if head == "knn":
        known, target = _known(examples, train, layer, scale)
        ks = [k for k in settings.ks if k <= len(known)] or [len(known)]
        votes = knn_votes(known, target, _take(examples.x, dev, layer, scale)[:, 0], tuple(ks), examples.classes)
        accuracy = (votes.argmax(-1) == _classes(examples.y, dev)).double().mean(1, keepdim=True).numpy()
        return [Choice(layer, k=k) for k in ks], accuracy, np.zeros_like(accuracy)
    if head == "logistic":
        choices = [Choice(layer, l2=l2) for l2 in settings.l2]
        bank = _bank(examples, layer, len(choices), head, settings, settings.seed)
        minimise(bank, _take(examples.x, train, layer, scale), _classes(examples.y, train), torch.tensor(settings.l2))
        accuracy, loss = _evaluate(examples, dev, layer, scale, bank)
        return choices, accuracy[:, None], loss[:, None]
    choices = [Choice(layer, lr) for lr in settings.lrs]
    bank = _bank(examples, layer, len(choices), head, settings, settings.seed)
    optimiser = Adam(bank, torch.tensor([c.lr for c in choices]), torch.tensor([c.l2 for c in choices]))
    generator = torch.Generator().manual_seed(settings.seed)
    accuracies: list[np.ndarray] = []
    losses: list[np.ndarray] = []
    for epoch in range(settings.epochs):
        _epoch(examples, train, layer, scale, bank, optimiser, settings.batch_size, generator)
        accuracy, loss = _evaluate(examples, dev, layer, scale, bank)
        accuracies.append(accuracy)
        losses.append(loss)
        if epoch - np.array(accuracies).argmax(0).max() >= settings.patience:
            break
    return choices, np.stack(accuracies, 1), np.stack(losses, 1)


def _known(examples: Examples, rows: np.ndarray, layer: int | None, scale: Scale) -> tuple[Tensor, Tensor]:
    """What kNN compares with: training features [n, P] and their classes [n]."""
    kept = rows[:: -(-len(rows) // MOST_KNOWN)]
    return _take(examples.x, kept, layer, scale)[:, 0], _classes(examples.y, kept)


def _bank(examples: Examples, layer: int | None, probes: int, head: str, settings: ProbeSettings, seed: int) -> Bank:
    layers = examples.x.shape[1] if layer is None else 1
    return Bank(layers, examples.x.shape[2], examples.classes, probes, settings.hidden if head == "hidden" else 0, seed)


def _epoch(
    examples: Examples,
    rows: np.ndarray,
    layer: int | None,
    scale: Scale,
    bank: Bank,
    optimiser: Adam,
    batch_size: int,
    generator: torch.Generator,
) -> None:
    order = rows[torch.randperm(len(rows), generator=generator).numpy()]
    for start in range(0, len(order), batch_size):
        batch = np.sort(order[start : start + batch_size])  # sorted: a memory map is read forwards
        optimiser.step(bank_loss(bank(_take(examples.x, batch, layer, scale)), _classes(examples.y, batch)).sum())


@torch.no_grad()
def _evaluate(examples: Examples, rows: np.ndarray, layer: int | None, scale: Scale, bank: Bank) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and mean loss of every probe; items of an unknown class are wrong and count in no loss."""
    right, loss = torch.zeros(bank.probes), torch.zeros(bank.probes)
    for block in _blocks(rows):
        logits, target = bank(_take(examples.x, block, layer, scale)), _classes(examples.y, block)
        right += (logits.argmax(-1) == target).sum(1)
        known = target >= 0
        loss += bank_loss(logits[:, known], target[known]) * known.sum() if known.any() else 0
    return (right / len(rows)).double().numpy(), (loss / len(rows)).nan_to_num(torch.inf).double().numpy()


def _gather(x: np.ndarray, rows: np.ndarray, layer: int | None) -> Float[Tensor, "rows layers width"]:
    values = x[rows] if layer is None else x[rows, layer][:, None]
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _take(x: np.ndarray, rows: np.ndarray, layer: int | None, scale: Scale) -> Float[Tensor, "rows layers width"]:
    return scale(_gather(x, rows, layer))


def _classes(y: np.ndarray, rows: np.ndarray) -> Int[Tensor, " rows"]:
    return torch.from_numpy(y[rows])


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


def _extend(curves: np.ndarray, length: int) -> np.ndarray:
    """Curves that stopped early keep their last value."""
    return np.pad(curves, ((0, 0), (0, length - curves.shape[1])), mode="edge")
