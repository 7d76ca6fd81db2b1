"""What the systems have in common: their networks and optimisers, and how weights change."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from p2p_deploy.spec import ModelSpec
from trainers.data import batch_of
from trainers.image_pool import ImagePool
from trainers.material import Material
from trainers.options import TrainingOptions

PREVIEWS = 4


class System(ABC):
    """The base of all systems. A subclass makes its networks and optimisers and says what a step is.

    Attributes:
        paired: whether an input has one right answer.
        fabric: devices, precision and processes.
        options: of the loop.
        spec: what ``generator`` is.
        networks: by name, as they are and not as they are wrapped; everything that has weights.
        optimizers: by name.
        pools: by name.
        first: whether this batch is the first one of a step.
        last: whether it is the last one, after which weights change.
        epoch: epochs done.
        shared: random numbers that are the same in every process.
    """

    paired = True

    def __init__(self, fabric: Fabric, options: TrainingOptions, spec: ModelSpec) -> None:
        self.fabric = fabric
        self.options = options
        self.spec = spec
        self.networks: dict[str, nn.Module] = {}
        self.optimizers: dict[str, Any] = {}
        self.pools: dict[str, ImagePool] = {}
        self.first = self.last = True
        self.epoch = 0
        self.shared = torch.Generator()
        self._wrapped: dict[str, Any] = {}

    @property
    def generator(self) -> nn.Module:
        """What is deployed."""
        return self.networks["G"]

    def add_network(self, name: str, network: nn.Module) -> Any:
        """Take charge of a network; what is returned is to be called where its weights learn."""
        if self.options.channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.fabric.world_size > 1 and self.fabric.device.type == "cuda":  # one picture a process has no statistics
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self.networks[name] = network
        called: Any = torch.compile(network) if self.options.compile else network
        self._wrapped[name] = self.fabric.setup_module(called)
        return self._wrapped[name]

    def add_optimizer(self, name: str, *networks: str, lr: float, betas: tuple[float, float]) -> None:
        """Adam over the weights of some networks."""
        weights = [weight for network in networks for weight in self.networks[network].parameters()]
        self.optimizers[name] = self.fabric.setup_optimizers(
            torch.optim.Adam(weights, lr, betas, fused=self.options.fused)
        )

    def noise(self, rows: int, length: int) -> Tensor:
        """(rows, length) of N(0, 1): of each process its share of what a single one would draw for all."""
        together = torch.randn(rows * self.fabric.world_size, length, generator=self.shared)
        first = rows * self.fabric.global_rank
        return together[first : first + rows].to(self.fabric.device)

    def backward_and_step(self, optimizer: str, loss: Tensor, leave: Iterable[nn.Parameter] = ()) -> None:
        """Add the gradients of ``loss`` and, with the last batch of a step, change the weights, but not ``leave``."""
        if self.first:
            self.optimizers[optimizer].zero_grad()
        with contextlib.ExitStack() as stack:
            if not self.last:
                for network in self._wrapped.values():
                    stack.enter_context(self.fabric.no_backward_sync(network))
            self.fabric.backward(loss / self.options.accumulate)
        if self.last:
            for weight in leave:
                weight.grad = None
            self.optimizers[optimizer].step()

    @contextlib.contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """Let gradients pass through networks that must not learn from them, called as they are in ``networks``.

        Not as wrapped: a wrapper for several processes would wait for gradients that never come.
        """
        weights = [weight for name in names for weight in self.networks[name].parameters() if weight.requires_grad]
        for weight in weights:
            weight.requires_grad_(False)
        try:
            with self.fabric.autocast():
                yield
        finally:
            for weight in weights:
                weight.requires_grad_(True)

    @staticmethod
    @abstractmethod
    def material(data: Path, options: Any) -> Material:
        """What the network is, and what it learns from. Raises DataError and SpecError for what cannot be used."""

    def preview(self, material: Material) -> Any:
        """The batch that samples show."""
        count = min(PREVIEWS, len(material.shown))  # type: ignore[arg-type]
        return batch_of(material.shown, range(count), self.fabric.device)

    @abstractmethod
    def step(self, batch: Any) -> dict[str, Tensor]:
        """Learn from one batch; detached scalar losses by name."""

    @abstractmethod
    def show(self, batch: Any) -> list[Tensor]:
        """Columns of a sample picture, inputs first and targets last, each (N, C, H, W) in [-1, 1]."""

    @abstractmethod
    def compare(self, batch: Any) -> tuple[Tensor, Tensor]:
        """(outputs, targets) of a held-out batch in [-1, 1]; unless ``paired``, no two of them belong together."""

    def state(self) -> dict[str, Any]:
        """Everything that a training goes on from, tensors and plain values only."""
        return {
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "pools": {name: pool.state() for name, pool in self.pools.items()},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; raises KeyError, ValueError or RuntimeError where it is of another system."""
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, pool in self.pools.items():
            pool.load(state["pools"][name], self.fabric.device)
