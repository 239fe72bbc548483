"""ReLU and leaky ReLU: the fixed point in λ with multipliers at the kinks. Torch.

The iteration is `fixed_point`'s, with δ at the kinks by the rule `Multipliers`. These need several iterations where one
is enough for smooth slopes, but few layers do: errors shrink from layer to layer downwards, and what is left to settle
sits in the upper ones. So most iterations are passes through the top of the network alone. What lies below follows λ
linearly, by the response, until a pass through all layers puts it right and decides whether all is done.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pcbook import network
from pcbook.inference.fixed_point import Look, Pass, look, predict, relative, state_of
from pcbook.inference.response import Response, spread
from pcbook.inference.rules import Memory, Multipliers
from pcbook.inference.state import State, noise

SAFETY = 0.25  # of rtol, for the estimated error of the batch's gradient, which is no bound
SHARE = 0.4  # of that, for the layers that wait
AHEAD = 0.9  # the top stops a little below what the whole network needs


class Sizes(NamedTuple):
    """Squares by layer, (B, L)."""

    change: Tensor  # how far δ_l has to go
    delta: Tensor  # its size
    below: Tensor  # the size of z_{l−1}, which it is multiplied by


def solve(
    net: network.PCN, x: Tensor, y: Tensor, start: Pass, response: Response, rtol: float, max_iterations: int
) -> tuple[State, int, Tensor]:
    """(State, iterations, done) as `fixed_point.solve` has it; a pass through the top counts as an iteration."""
    goal, iteration, found = SAFETY * rtol, 0, None
    rule = Multipliers(net, len(x))
    lam, memory = predict(net, rule, y - start.output, start, response)
    whole = _Layers(net, rule, response, x, y, start.u[:, : net.sizes[1]], noise(net, y, start.output), lam, memory)
    live, estimates = torch.arange(len(x), device=x.device), x.new_zeros(len(x))
    wrong, total = x.new_zeros(len(x)), x.new_zeros(len(x))  # of each sample's weight gradient, squared
    while True:
        iteration += 1
        lam = whole.lam
        here, sizes, estimate = whole.iterate()
        estimates[live], wrong[live], total[live] = estimate, _wrong(sizes).sum(1), _total(sizes).sum(1)
        state = state_of(net, here, lam)
        found = state if found is None else found.put(live, state)
        enough = bool(wrong.sum() <= goal**2 * total.sum())
        if iteration >= max_iterations or (enough and estimates.max() <= rtol):
            return found, iteration, estimates <= rtol
        done = estimate <= (rtol if enough else goal)
        if int(done.sum()) * 2 > len(done):
            live, lam, sizes = live[~done], lam[~done], Sizes(*(v[~done] for v in sizes))
            whole.select(~done)
        first = _first(sizes, SHARE * goal)
        if first:
            iteration += _settle(whole, first, lam, sizes, goal, rtol, max_iterations - iteration - 1)


def _settle(whole: "_Layers", first: int, lam: Tensor, sizes: Sizes, goal: float, rtol: float, limit: int) -> int:
    """Settle the top of the network, above `first` hidden layers, in at most `limit` passes; returns their number.

    `lam` is the λ of the last pass through the whole.
    """
    top, rows = whole.top(first, lam), torch.arange(len(lam), device=lam.device)
    waiting = _wrong(sizes)[:, : first + 1].sum()
    budget = (AHEAD * goal) ** 2 * _total(sizes).sum() - waiting
    enough = False
    for passes in range(1, limit + 1):
        _, sizes, estimate = top.iterate()
        enough = enough or bool(_wrong(sizes).sum() <= budget)
        keep = estimate > AHEAD * rtol  # stragglers go on by themselves
        last = passes == limit or (enough and not bool(keep.any()))
        if last or (enough and int(keep.sum()) * 2 <= len(keep)):
            out = torch.ones_like(keep) if last else ~keep
            whole.put_back(rows[out], top, out, first)
            if last:
                return passes
            rows = rows[keep]
            top.select(keep)
    return 0


class _Layers:
    """A network, or the top of one, with the λ and the multipliers of the samples that are not done."""

    def __init__(
        self,
        net: network.PCN,
        rule: Multipliers,
        response: Response,
        x: Tensor,
        y: Tensor,
        lowest: Tensor,
        floor: Tensor,
        lam: Tensor,
        memory: Memory,
        lift: Tensor | None = None,
    ) -> None:
        self.net, self.rule, self.response = net, rule, response
        self.x, self.y, self.lowest, self.floor, self.lam, self.memory = x, y, lowest, floor, lam, memory
        self.lift, self.base = lift, lam  # the lowest u follow λ by `lift` from where they were at `base`

    def iterate(self) -> tuple[Look, Sizes, Tensor]:
        """One pass down and up. Returns its `Look`, its `Sizes`, and how far each sample is from its end, (B,)."""
        lowest = self.lowest if self.lift is None else torch.addmm(self.lowest, self.lam - self.base, self.lift)
        here = look(self.net, self.rule, self.response, self.x, self.y, self.lam, self.memory, lowest)
        if self.lift is not None:
            here.drift[:, : lowest.shape[1]] = 0.0  # it is not theirs to settle
        step = spread(here.residual, self.response.inverse)
        sizes = _sizes(self.net, here, self.lam, step)
        stretched = (sizes.change[:, :-1].sum(1) * self.rule.stretch() ** 2) + sizes.change[:, -1]
        estimate = relative(stretched, sizes.delta.sum(1), self.floor)
        self.rule.observe(estimate)
        self.lam, self.memory = self.lam + step, here.memory
        return here, sizes, estimate

    def select(self, keep: Tensor) -> None:
        """Go on with some samples."""
        self.x, self.y, self.lowest, self.floor = (v[keep] for v in (self.x, self.y, self.lowest, self.floor))
        self.lam, self.base, self.memory = self.lam[keep], self.base[keep], tuple(m[keep] for m in self.memory)
        self.rule.select(keep)

    def top(self, first: int, base: Tensor) -> "_Layers":
        """The layers above `first` hidden ones, whose response to λ, from `base` on, is linear."""
        start, width = sum(self.net.sizes[1 : first + 1]), self.net.sizes[first + 1]
        net, memory = network.top(self.net, first), tuple(m[:, start:] for m in self.memory)
        response = self.response.top(net, start)
        lowest, lift = self.memory[1][:, start : start + width], self.response.lift[:, start : start + width]
        rule = self.rule.top(net, start)
        result = _Layers(net, rule, response, self.x, self.y, lowest, self.floor, self.lam, memory, lift)
        result.base = base
        return result

    def put_back(self, rows: Tensor, top: "_Layers", chosen: Tensor, first: int) -> None:
        """Take over what the layers above the lowest of `top` have come to, in some samples."""
        start, width = sum(self.net.sizes[1 : first + 2]), top.net.sizes[1]
        self.lam[rows] = top.lam[chosen]
        for own, new in zip(self.memory, top.memory, strict=True):
            own[rows, start:] = new[chosen, width:]


def _sizes(net: network.PCN, here: Look, lam: Tensor, step: Tensor) -> Sizes:
    widths = net.sizes[1:-1]
    parts = [*here.drift.split(widths, dim=1), step], [*here.settled.split(widths, dim=1), lam], here.above.inputs
    return Sizes(*(torch.stack([torch.linalg.vector_norm(v, dim=1) for v in p], dim=1).square_() for p in parts))


def _wrong(sizes: Sizes) -> Tensor:
    """The squared error of each sample's weight gradients, by layer, that the drift makes."""
    return sizes.change * sizes.below


def _total(sizes: Sizes) -> Tensor:
    """The squared size of each sample's weight gradients, by layer."""
    return sizes.delta * sizes.below


def _first(sizes: Sizes, share: float) -> int:
    """How many layers at the bottom may wait: their drift makes no more than a share of the gradient."""
    waiting = _wrong(sizes).sum(0).cumsum(0)[1:-2]  # from the second: the u of the first cannot move
    return int((waiting <= share**2 * _total(sizes).sum()).sum())
