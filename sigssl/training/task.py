"""The one LightningModule: seeds each step, joins micro-batches and ranks exactly, skips non-finite updates. It knows no method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from sigssl.data.batching import Planned, derive
from sigssl.data.dataset import Loaded
from sigssl.methods.base import Method
from sigssl.training import optim
from sigssl.training.options import OptimOptions
from sigssl.training.tally import Tally


class Task(LightningModule):
    """A method under Lightning's trainer.

    A method's loss is a mean over "weight" elements. The loss of an update is the mean over the elements of all its micro-batches
    on all ranks: sum(loss * weight) / sum(weight). Its gradient is had without knowing the sum of weights beforehand by going
    backward through loss * weight and scaling at the update, which costs nothing inside the fused optimiser.

    Args:
        method: what is trained.
        options: optimiser and schedule.
        updates: of the whole run.
        accumulate: micro-batches per update and rank.
        seed: of every random choice.
    """

    def __init__(self, method: Method, options: OptimOptions, updates: int, accumulate: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.method, self.options, self.updates, self.accumulate, self.seed = method, options, updates, accumulate, seed
        self.tally = Tally()

    def generator(self, purpose: str, planned: Planned) -> torch.Generator:
        """The generator of one batch on this rank; the global one, of which dropout draws, is seeded for it as well, apart."""
        where = (*planned.position, self.global_rank)
        torch.manual_seed(derive(self.seed, f"{purpose} dropout", *where))
        return torch.Generator(self.device).manual_seed(derive(self.seed, purpose, *where))

    def training_step(self, loaded: Loaded, batch_idx: int) -> Tensor:
        """Loss times weight of one micro-batch; :meth:`configure_gradient_clipping` divides."""
        made = self.method(loaded.batch, self.generator("step", loaded.planned))
        weight = made["weight"].detach().float()
        self.tally.add(made, weight, loaded)
        return made["loss"] * weight

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Once per update, gradients summed and averaged over ranks: normalise, clip, and mark a non-finite one to be skipped.

        Nothing is read back from the device: the factors go into the fused optimiser as tensors, in the form in which
        a gradient scaler hands them over.
        """
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        total = self.reduced(self.tally.window_weight(self.device))
        # Lightning has divided by `accumulate`, DistributedDataParallel by the number of ranks
        scale = self.accumulate * self.trainer.world_size / total
        norm = optim.total_norm(gradients) * scale
        bad = ~(torch.isfinite(norm) & (total > 0))
        if self.options.clip is not None:
            scale = scale * torch.clamp(self.options.clip / (norm + 1e-6), max=1.0)
        vars(optimizer).update(grad_scale=1.0 / scale, found_inf=bad.float())  # the optimiser divides by grad_scale
        self.tally.close_update(self.trainer.global_step + 1, norm, bad)

    def reduced(self, values: Tensor) -> Tensor:
        """The sum over ranks."""
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(values)
        return values

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule, stepped per update."""
        adam = optim.optimizer(self.method, self.options)
        scheduler = optim.schedule(adam, self.options, self.updates)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "frequency": 1}}

    @torch.no_grad()
    def validate(self, batches: Callable[[], Any]) -> dict[str, float]:
        """Mean loss and scalars over a validation set, in eval mode, with alterations that are the same each time.

        Args:
            batches: gives this rank's loaded batches of one pass.

        Returns:
            `valid_loss`, `valid_<scalar>` ...; the same on every rank.
        """
        tally = Tally()
        training = self.method.training
        self.method.eval()
        for loaded in batches():
            loaded = loaded.to(self.device)
            with self.trainer.precision_plugin.forward_context():
                made = self.method(loaded.batch, self.generator("valid", loaded.planned))
            tally.add(made, made["weight"].float(), loaded)
        self.method.train(training)
        return {f"valid_{name}": value for name, value in tally.means(self.reduced, self.device).items()}
