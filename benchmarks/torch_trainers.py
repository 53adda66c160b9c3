"""PyTorch's contenders in training; see `trainers.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import CHECKED_STEPS, Problem
from numpy.typing import NDArray
from pin import threads
from torch_net import torch_net
from training import BETA_1, BETA_2, EPSILON, LEARNING_RATE, trigger_compilation


class PyTorch:
    """PyTorch in eager mode, with the fused Adam."""

    def __init__(self, problem: Problem) -> None:
        import torch

        torch.set_num_threads(threads())
        self.torch, self.problem = torch, problem
        self.x = [torch.from_numpy(x) for x in problem.x]
        self.y = [torch.from_numpy(y) for y in problem.y]
        functional = torch.nn.functional
        losses = {"mse": functional.mse_loss, "crossentropy": functional.cross_entropy}
        self.losses = [losses[loss] for loss in problem.case.losses]

    def reset(self) -> None:
        self.net = torch_net(self.problem)
        self.optimizer = self.torch.optim.Adam(
            self.net.parameters(), LEARNING_RATE, (BETA_1, BETA_2), EPSILON, fused=True
        )

    def check_values(self) -> NDArray[np.float64]:
        self.reset()
        tensor = self.torch.from_numpy
        batches = self.problem.first_batches()
        return np.array(
            [self._step([*map(tensor, x)], [*map(tensor, y)]).item() for x, y in batches]
        )

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            if self.problem.case.shuffle:
                order = self.torch.randperm(self.problem.n)
                for rows in order.split(self.problem.case.rows):
                    self._step([x[rows] for x in self.x], [y[rows] for y in self.y])
            else:
                self._step(self.x, self.y)

    def _step(self, x: list[Any], y: list[Any]) -> Any:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._total_loss(self.net(*x), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def _total_loss(self, outputs: Any, y: list[Any]) -> Any:
        if len(y) == 1:
            return self.losses[0](outputs, y[0])
        parts = zip(self.losses, outputs, y, strict=True)
        return sum(loss(output, target) for loss, output, target in parts)


class CompiledPyTorch(PyTorch):
    """PyTorch with the whole step compiled: gather, forward, backward and Adam are one graph.

    These settings were the fastest of those tried. `loss.backward()` and `optimizer.step()` break
    the graph, and a step of 20-64-64-10 with batches of 32 takes 245 µs. With `torch.func` and an
    explicit Adam, there is one graph, and the step takes 80 µs. Without the C++ wrapper and
    autotuning, it takes up to 1.6 times as long.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        torch = self.torch
        torch.compiler.reset()  # otherwise a second case is compiled for variable shapes
        net = torch_net(problem, unrolled=True)
        trained = [pair for pair in net.named_parameters() if pair[1].requires_grad]
        self.names = [name for name, _ in trained]
        self.params = [parameter.detach() for _, parameter in trained]
        self.functional_net = net
        self.start = [p.clone() for p in self.params]
        self.slots = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.params]
        self.t = torch.zeros(())  # float32, because Inductor loses increments of a float64
        options = {"cpp_wrapper": True, "max_autotune": True}
        self.step = torch.compile(self._whole_step, dynamic=False, options=options)
        trigger_compilation(self.check_values)

    def reset(self) -> None:
        for p, start, slots in zip(self.params, self.start, self.slots, strict=True):
            p.copy_(start)
            for slot in slots:
                slot.zero_()
        self.t.zero_()

    def check_values(self) -> NDArray[np.float64]:
        self.reset()
        case = self.problem.case
        rows = self.torch.arange(self.problem.n).split(case.rows)
        batches = [rows[i % case.steps] if case.shuffle else None for i in range(CHECKED_STEPS)]
        return np.array([self.step(batch).item() for batch in batches])

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            if self.problem.case.shuffle:
                for rows in self.torch.randperm(self.problem.n).split(self.problem.case.rows):
                    self.step(rows)
            else:
                self.step(None)

    def _whole_step(self, rows: Any) -> Any:
        torch = self.torch
        x, y = self.x, self.y
        if rows is not None:
            x, y = [part[rows] for part in x], [part[rows] for part in y]

        def loss_of(params: list[Any]) -> Any:
            return self._total_loss(self._outputs(params, x), y)

        gradients, loss = torch.func.grad_and_value(loss_of)(self.params)
        self.t.add_(1.0)
        alpha = LEARNING_RATE * torch.sqrt(1.0 - BETA_2**self.t) / (1.0 - BETA_1**self.t)
        for p, g, (m, v) in zip(self.params, gradients, self.slots, strict=True):
            m.mul_(BETA_1).add_(g, alpha=1.0 - BETA_1)
            v.mul_(BETA_2).addcmul_(g, g, value=1.0 - BETA_2)
            p.sub_(alpha.to(g.dtype) * m / (v.sqrt() + EPSILON))
        return loss

    def _outputs(self, params: list[Any], x: list[Any]) -> Any:
        named = dict(zip(self.names, params, strict=True))
        return self.torch.func.functional_call(self.functional_net, named, tuple(x))
