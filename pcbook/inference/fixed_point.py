"""Smooth networks: a fixed point in the output error λ, n_L numbers a sample, and its parts. Torch.

At an equilibrium every error follows from λ = Π_L (y − u_L), one layer after the other: μ_l = W_{l+1}ᵀ δ_{l+1} with
δ_L = λ, δ_l = φ′(u_l) ⊙ μ_l and e_l = Π_l⁻¹ μ_l. One iteration takes one pass down (errors from λ) and one pass up
(the output from the errors): the price of a forward and a backward pass. Three things keep their number near one.

- λ is updated by solving with S, the network's mean-field response, not by repetition.
- The δ_l move when the u_l move. What the next pass down will make of that, and what it will do to the output, is
  predicted from the response and taken into account at once: the lag, (drift) Uᵀ.
- A surrogate of the network, a few rows wide, predicts λ and the u_l for the first pass (`predict`).

From the second iteration on a Broyden update for each sample learns what the mean field leaves out. Samples that are
done leave the batch. The iteration is not monotone: the caller checks energies and residuals.
Hidden units stand side by side, layer after layer, so that all but the two passes is a few operations on (B, N).
"""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from pcbook import network
from pcbook.inference.response import Response, gather, spread
from pcbook.inference.rules import Memory, Multipliers, Slopes, down
from pcbook.inference.state import State, merge, noise


class Pass(NamedTuple):
    """A pass upwards."""

    inputs: list[Tensor]  # z_0 … z_{L−1}
    u: Tensor  # of the hidden units, (B, N)
    h: Any  # φ(u), (B, N), or None where nobody asks for it
    output: Tensor  # u_L


class Look(NamedTuple):
    """One iteration."""

    above: Pass  # the last pass upwards
    errors: Tensor  # its errors (B, N)
    settled: Tensor  # the δ that the next pass down would start with
    drift: Tensor  # how far they are from this pass's
    residual: Tensor  # what λ has yet to explain, (B, n_L)
    memory: Memory  # the rule's


def solve(
    net: network.PCN, x: Tensor, y: Tensor, start: Pass, response: Response, rtol: float, max_iterations: int
) -> tuple[State, int, Tensor]:
    """(State, iterations, done): `done` (B,) says which samples met rtol by the solver's own estimate of its error.

    It stops when all have, with a margin in the root mean square: what a batch's gradient is off by.

    `start` is the feedforward `Pass`, `response` the network's `Response`.
    """
    rule, solver = Slopes(net), Broyden(response.inverse)
    lam, memory = predict(net, rule, y - start.output, start, response)
    floor, estimates, lowest = noise(net, y, start.output), x.new_zeros(len(x)), start.u[:, : net.sizes[1]]
    live, pieces = torch.arange(len(x), device=x.device), list[tuple[Tensor, State]]()
    previous, step = None, torch.empty_like(y)
    for iteration in range(1, max_iterations + 1):
        here = look(net, rule, response, x, y, lam, memory, lowest)
        if previous is not None:
            solver.learn(step, previous - here.residual)
        previous, step, memory = here.residual, solver(here.residual), here.memory
        size, change = (square(lam) + square(here.settled), square(step) + square(here.drift))
        estimate = relative(change, size, floor)
        estimates[live] = estimate
        enough = estimates.square().mean().sqrt() <= rule.safety * rtol and estimates.max() <= rtol
        state = state_of(net, here, lam)
        if iteration == max_iterations or enough:
            break
        lam = lam + step
        done = estimate <= 0.5 * rule.safety * rtol
        if int(done.sum()) * 2 > len(done):
            pieces.append((live[done], state.select(done)))
            keep = ~done
            live, x, y, lam, previous, step = (v[keep] for v in (live, x, y, lam, previous, step))
            floor, lowest, memory = floor[keep], lowest[keep], None if memory is None else memory[keep]
            solver.select(keep)
    return merge([*pieces, (live, state)]), iteration, estimates <= rtol


def look(
    net: network.PCN,
    rule: Slopes | Multipliers,
    response: Response,
    x: Tensor,
    y: Tensor,
    lam: Tensor,
    memory: Memory,
    lowest: Tensor,
) -> Look:
    """One iteration: a pass down from λ, a pass up, and what they leave to explain. `lowest` is u_1."""
    mu, deltas = down(net, rule, lam, memory)
    errors = network.unweigh_hidden(net, mu)
    above = up(net, x, errors, heights=rule.smooth, lowest=lowest)
    memory = rule.remember(above.u, above.h, deltas)
    settled = rule.delta(mu, memory)
    drift = torch.sub(settled, deltas, out=deltas if rule.smooth else None)  # fresh memory costs more than arithmetic
    residual = y - above.output - network.unweigh_output(net, lam) - gather(drift, response.lift)
    return Look(above, errors, settled, drift, residual, memory)


def up(
    net: network.PCN, x: Tensor, errors: Tensor | None = None, heights: bool = True, lowest: Tensor | None = None
) -> Pass:
    """One `Pass` upwards with z = φ(u) + e and the errors of all hidden units (B, N), zero unless given.

    φ(u) of all units is None unless asked for. `lowest` is u_1, which spares a product: x does not move.
    """
    function, widths = network.ACTIVATIONS[net.activation].function, net.sizes[1:-1]
    u = x.new_empty(len(x), sum(widths))
    z, h = torch.empty_like(u), torch.empty_like(u) if heights and errors is not None else None
    views = [[None] * len(widths) if v is None else v.split(widths, dim=1) for v in (u, z, h, errors)]
    inputs = [x]
    for l, (below, above, height, e) in enumerate(zip(*views, strict=True)):
        if l or lowest is None:
            network.preactivation(net, l, inputs[-1], out=below)
        else:
            below.copy_(lowest)
        if e is None:
            function(below, out=above)
        else:
            torch.add(function(below, out=height), e, out=above)
        inputs.append(above)
    h = z if errors is None else h
    return Pass(inputs, u, h, network.preactivation(net, -1, inputs[-1]))


def state_of(net: network.PCN, here: Look, lam: Tensor) -> State:
    """The `State` of a `Look` and the λ that it was taken at."""
    widths = net.sizes[1:-1]
    return State(
        here.above.inputs,
        list(here.errors.split(widths, dim=1)),
        here.above.output,
        [*here.settled.split(widths, dim=1), lam],
    )


def mean_slopes(net: network.PCN, start: Pass) -> Tensor | None:
    """The mean of φ′(u) over the batch, (N,), at a `Pass` without errors; None for 1."""
    slope, widths = network.ACTIVATIONS[net.activation].slope, net.sizes[1:-1]
    # Layer by layer, because one layer fits in the processor's cache.
    layers = zip(start.u.split(widths, dim=1), start.h.split(widths, dim=1), strict=True)
    return None if net.activation == "linear" else torch.cat([cast(Tensor, slope(u, h)).mean(0) for u, h in layers])


def predict(
    net: network.PCN, rule: Slopes | Multipliers, residual: Tensor, start: Pass, response: Response
) -> tuple[Tensor, Memory]:
    """λ and the memory near the equilibrium, from the response alone: no product wider than n_L rows.

    The response moves u by λU and the δ by φ′ ⊙ λJ. What φ and the rule make of that instead bends the output.
    """
    function, slope, *_ = network.ACTIVATIONS[net.activation]
    lam = spread(residual, response.inverse)
    mu, u = spread(lam, response.adjoint), torch.addmm(start.u, lam, response.lift)
    h = function(u)
    memory = rule.remember(u, h, mu if rule.smooth else network.times(mu, slope(start.u, start.h)))
    deltas = rule.delta(mu, memory, out=mu if rule.smooth else None)
    bend = gather(h.sub_(start.h), response.adjoint) + gather(deltas, response.lift)
    adjoint = network.times(response.adjoint, response.slopes)
    linear = response.lift @ adjoint.t()
    return lam - spread(bend - lam @ (linear + linear.t()), response.inverse), memory


def relative(change: Tensor, size: Tensor, floor: Tensor) -> Tensor:
    """How far a sample is from where it is going, relative to its size or the batch's, from their squares (B,)."""
    return (change / torch.maximum(size, size.mean()).maximum(floor.square())).sqrt()


def square(v: Tensor) -> Tensor:
    """‖v‖² of each row."""
    return torch.linalg.vector_norm(v, dim=1).square()


class Broyden:
    """An inverse Jacobian for each sample: a shared matrix and Broyden's good rank-one updates."""

    MEMORY = 10

    def __init__(self, inverse: Tensor) -> None:
        self.inverse = inverse
        self.left: list[Tensor] = []
        self.right: list[Tensor] = []

    def __call__(self, v: Tensor) -> Tensor:
        """H v for each row of v (B, n_L)."""
        result = spread(v, self.inverse)  # S is symmetric
        for a, b in zip(self.left, self.right, strict=True):
            result = result + a * (b * v).sum(1, keepdim=True)
        return result

    def learn(self, step: Tensor, change: Tensor) -> None:
        """H ← H + (s − Hq) sᵀH / sᵀHq for the pair s, q, except where sᵀHq is too small to divide by."""
        if len(self.left) == self.MEMORY:
            self.left, self.right = [], []
        image = self(change)
        product = (step * image).sum(1, keepdim=True)
        safe = product.abs() > 1e-3 * (step * step).sum(1, keepdim=True)
        right = spread(step, self.inverse)
        for a, b in zip(self.left, self.right, strict=True):
            right = right + b * (a * step).sum(1, keepdim=True)
        self.left.append(torch.where(safe, step - image, 0.0) / torch.where(safe, product, 1.0))
        self.right.append(right)

    def select(self, keep: Tensor) -> None:
        """Drop the samples that are done."""
        self.left, self.right = ([v[keep] for v in part] for part in (self.left, self.right))
