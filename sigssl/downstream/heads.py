"""Probe heads: many linear or one-hidden-layer probes trained side by side, and the k-nearest-neighbour classifier.

A bank holds `probes` independent probes (one for each learning rate, say) whose parameters lie along the first dimension, so
that a whole sweep is a few matrix products per step. Nothing couples them: the gradient of the summed loss with respect to one
probe is that of its own loss.
"""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional


class Bank(nn.Module):
    """`probes` classifiers of the softmax-weighted sum of layers (SUPERB, Yang et al. 2021, section 3).

    Args:
        layers: number of layers L that come in; with one, there is nothing to weigh.
        width: features P of each layer.
        classes: number of classes K.
        probes: how many probes M; all start from the same values.
        hidden: units of the hidden layer (ReLU), 0 for a linear probe.
        seed: of the initial values, which are `torch.nn.Linear`'s: uniform in +-1/sqrt(fan-in).
    """

    def __init__(self, layers: int, width: int, classes: int, probes: int = 1, hidden: int = 0, seed: int = 0) -> None:
        super().__init__()
        self.layers, self.width, self.classes, self.probes, self.hidden, self.seed = layers, width, classes, probes, hidden, seed
        generator = torch.Generator().manual_seed(seed)
        self.mixing = nn.Parameter(torch.zeros(probes, layers), requires_grad=layers > 1)
        sizes = [width, hidden, classes] if hidden else [width, classes]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(sizes):
            start = (torch.rand(fan_in + 1, fan_out, generator=generator) * 2 - 1) / math.sqrt(fan_in)
            self.weights.append(nn.Parameter(start[None, :-1].repeat(probes, 1, 1)))
            self.biases.append(nn.Parameter(start[None, -1:].repeat(probes, 1, 1)))

    def forward(self, x: Float[Tensor, "items layers width"]) -> Float[Tensor, "probes items classes"]:
        """Logits of every probe."""
        if self.hidden:
            mixed = torch.einsum("ml,nlp->mnp", self.mixing.softmax(1), x)
            hidden = torch.baddbmm(self.biases[0], mixed, self.weights[0]).relu()
            return torch.baddbmm(self.biases[1], hidden, self.weights[1])
        # a linear probe may as well project first: all layers and probes are then one matrix product, and the sum is over classes
        together = self.weights[0].transpose(0, 1).flatten(1)  # [P, M * K]
        projected = (x.flatten(0, 1) @ together).view(*x.shape[:2], self.probes, self.classes)
        return torch.einsum("ml,nlmk->mnk", self.mixing.softmax(1), projected) + self.biases[0]

    def layer_weights(self) -> Float[Tensor, "probes layers"]:
        """The learned weight of each layer; each row sums to 1."""
        return self.mixing.detach().softmax(1)


def minimise(bank: Bank, x: Float[Tensor, "items 1 width"], target: Int[Tensor, " items"], l2: Float[Tensor, " probes"]) -> None:
    """Bring every probe of a linear bank to the minimum of `mean cross-entropy + l2 / 2 * sum(W^2)`, by L-BFGS.

    All items of one layer are taken at once, in 100 iterations at most, from zero: this is logistic regression as scikit-learn has
    it, with `C = 1 / (l2 * items)`, and has one answer.
    """
    for parameter in [*bank.weights, *bank.biases]:
        torch.nn.init.zeros_(parameter)
    parameters = [p for p in bank.parameters() if p.requires_grad]
    solver = torch.optim.LBFGS(parameters, max_iter=100, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        solver.zero_grad()
        penalty = 0.5 * l2 * bank.weights[0].square().sum((1, 2))
        loss = (bank_loss(bank(x), target) + penalty).sum()
        loss.backward()
        return loss

    solver.step(objective)


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) with a learning rate and an L2 penalty for every probe of a bank.

    Args:
        bank: whose parameters, along their first dimension, belong to one probe each.
        lrs: learning rate of each probe [M].
        l2: weight of the penalty `l2 / 2 * sum(W^2)` of each probe [M]; biases and layer weights are not penalised.
    """

    def __init__(self, bank: Bank, lrs: Float[Tensor, " probes"], l2: Float[Tensor, " probes"]) -> None:
        self.bank, self.lrs, self.l2 = bank, lrs, l2
        self.parameters = [p for p in bank.parameters() if p.requires_grad]
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.count = 0

    @torch.no_grad()
    def step(self, loss: Float[Tensor, ""]) -> None:
        """One update from the sum of the probes' losses."""
        gradients = torch.autograd.grad(loss, self.parameters)
        penalised = {id(weight) for weight in self.bank.weights}
        self.count += 1
        for parameter, gradient, first, second in zip(self.parameters, gradients, self.first, self.second, strict=True):
            shape = (-1, *(1,) * (parameter.ndim - 1))
            if id(parameter) in penalised:
                gradient = gradient + self.l2.view(shape) * parameter
            first.lerp_(gradient, 1 - 0.9)
            second.mul_(0.999).addcmul_(gradient, gradient, value=1 - 0.999)
            scale = (second / (1 - 0.999**self.count)).sqrt_().add_(1e-8)
            parameter.sub_(self.lrs.view(shape) / (1 - 0.9**self.count) * first / scale)


def bank_loss(logits: Float[Tensor, "probes items classes"], target: Int[Tensor, " items"]) -> Float[Tensor, " probes"]:
    """Mean cross-entropy of every probe."""
    flat = functional.cross_entropy(logits.flatten(0, 1), target.repeat(len(logits)), reduction="none")
    return flat.view(len(logits), -1).mean(1)


def knn_votes(
    train: Float[Tensor, "known width"],
    target: Int[Tensor, " known"],
    x: Float[Tensor, "items width"],
    ks: tuple[int, ...],
    classes: int,
    block: int = 1024,
) -> Float[Tensor, "ks items classes"]:
    """Votes of the k nearest training items by cosine similarity, one item one vote, for several k at once.

    Args:
        train: features of the training items.
        target: their classes.
        x: features to classify.
        ks: numbers of neighbours, each at most the number of training items.
        classes: number of classes K.
        block: items classified at a time, which bounds the memory at `block * known` floats.

    Returns:
        The number of votes of each class plus, to break ties, a term below 1 that favours the class of the nearest neighbour.
    """
    known = functional.normalize(train, dim=1)
    out = torch.zeros(len(ks), len(x), classes)
    for start in range(0, len(x), block):
        similar = functional.normalize(x[start : start + block], dim=1) @ known.T
        nearest = target[similar.topk(max(ks), dim=1).indices]  # [items, k] classes, nearest first
        tie = 0.5 ** (torch.arange(max(ks)) + 1.0)
        for row, k in enumerate(ks):
            votes = functional.one_hot(nearest[:, :k], classes).float()
            out[row, start : start + block] = votes.sum(1) + 0.5 * (votes * tie[:k, None]).sum(1)
    return out
