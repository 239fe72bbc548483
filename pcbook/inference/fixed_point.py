"""Nonlinear networks: a fixed point in the output error λ, n_L numbers a sample. Torch.

At an equilibrium every error follows from λ = Π_L (y − u_L), one layer after the other: μ_l = W_{l+1}ᵀ δ_{l+1} with
δ_L = λ, δ_l = φ′(u_l) ⊙ μ_l and e_l = Π_l⁻¹ μ_l. One iteration takes one pass down (errors from λ) and one pass up
(the output from the errors): the price of a forward and a backward pass. Three things keep their number near one.

- λ is updated by solving with S, the network's mean-field response, not by repetition.
- The δ_l move when the u_l move. What the next pass down will make of that, and what it will do to the output, is
  predicted from the response and taken into account at once (`_lag`).
- A surrogate of the network, a few rows wide, predicts λ and the u_l for the first pass (`_predict`).

From the second iteration on a Broyden update for each sample of a smooth network learns what the mean field leaves
out. Samples that are done leave the batch. The iteration is not monotone: the caller checks energies and residuals.
"""

import torch

from pcbook import network
from pcbook.inference.response import gather, spread
from pcbook.inference.rules import Multipliers, Slopes, down
from pcbook.inference.state import State, merge, noise


def solve(net, x, y, start, response, rtol, max_iterations, patient=False):
    """(State, iterations, done): `done` (B,) says which samples met rtol by the solver's own estimate of its error.

    `start` is the feedforward `network.Sweep`, `response` the network's `Response`. `patient` takes shorter steps at
    kinks.
    """
    rule = Multipliers(net, len(x), patient) if network.ACTIVATIONS[net.activation].kinked else Slopes(net)
    solver = Broyden(response.inverse)
    lam, memory = _predict(net, rule, y - start.output, start, response)
    floor = noise(net, y, start.output)
    live, pieces, previous, step = torch.arange(len(x), device=x.device), [], None, None
    for iteration in range(1, max_iterations + 1):
        mu, deltas = down(net, rule, lam, memory)
        errors = network.unweigh(net, mu)
        sweep = network.sweep(net, x, errors, sloped=rule.smooth)
        memory = rule.remember(sweep.preactivations, sweep.slopes, deltas)
        settled = [rule.delta(l, m, kept) for l, (m, kept) in enumerate(zip(mu, memory, strict=True))]
        drift = [after - before for after, before in zip(settled, deltas[:-1], strict=True)]
        gap = y - sweep.output - network.unweigh_output(net, lam)
        residual = gap - _lag(drift, response)
        if previous is not None and rule.smooth:
            solver.learn(step, previous - residual)
        previous, step = residual, solver(residual)
        estimate = _estimate([*settled, lam], step, drift, rule.stretch(), floor)
        done = estimate <= rule.safety * rtol
        state = State(sweep.inputs, errors, sweep.output, [*settled, lam])
        if iteration == max_iterations or bool(done.all()):
            break
        rule.observe(estimate)
        lam = lam + step
        if int(done.sum()) * 4 > len(done):
            pieces.append((live[done], state.select(done)))
            keep = ~done
            live, x, y, lam, previous, step, floor = (v[keep] for v in (live, x, y, lam, previous, step, floor))
            memory = [_select(m, keep) for m in memory]
            rule.select(keep)
            solver.select(keep)
    finished = torch.ones(sum(len(i) for i, _ in pieces) + len(live), dtype=torch.bool, device=x.device)
    finished[live] = done
    return merge([*pieces, (live, state)]), iteration, finished


def _predict(net, rule, residual, start, response):
    """λ and the memories near the equilibrium, from the response alone: no product wider than n_L rows."""
    function = network.ACTIVATIONS[net.activation].function
    lam = spread(residual, response.inverse)
    memory, bend = [], torch.zeros_like(lam)
    for l, (u, adjoint, lift) in enumerate(zip(start.preactivations, response.adjoint, response.lift, strict=True)):
        h, mean, mu = start.inputs[l + 1], response.slopes[l], spread(lam, adjoint)
        delta = network.times(mu, start.slopes[l])
        if lift is None:  # nothing below the first layer moves
            memory.append(rule.foresee(l, mu, delta, u, h))
            continue
        shift = spread(lam, lift)
        after = function(u + shift)
        memory.append(rule.foresee(l, mu, delta, u + shift, after))
        bend = bend + gather(after - h - network.times(shift, mean), adjoint)
        bend = bend + gather(rule.delta(l, mu, memory[l]) - network.times(mu, mean), lift)
    return lam - spread(bend, response.inverse), memory


def _lag(drift, response):
    """What the output will change by when δ_l changes by `drift`."""
    return sum((gather(d, lift) for d, lift in zip(drift[1:], response.lift[1:], strict=True)), 0.0)


def _estimate(deltas, step, drift, stretch, floor):
    """How far λ and the δ_l are from where they are going, relative to their size in the sample or the batch, (B,)."""
    size = sum(_square(d) for d in deltas)
    change = sum((_square(d) for d in drift), 0.0 * size) * stretch**2 + _square(step)
    return (change / torch.maximum(size, size.mean()).maximum(floor.square())).sqrt()


def _square(v):
    return torch.linalg.vector_norm(v, dim=1).square()


def _select(memory, keep):
    if memory is None:
        return None
    return tuple(None if m is None else m[keep] for m in memory) if isinstance(memory, tuple) else memory[keep]


class Broyden:
    """An inverse Jacobian for each sample: a shared matrix and Broyden's good rank-one updates."""

    MEMORY = 10

    def __init__(self, inverse):
        self.inverse, self.left, self.right = inverse, [], []

    def __call__(self, v):
        """H v for each row of v (B, n_L)."""
        result = spread(v, self.inverse)  # S is symmetric
        for a, b in zip(self.left, self.right, strict=True):
            result = result + a * (b * v).sum(1, keepdim=True)
        return result

    def learn(self, step, change):
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

    def select(self, keep):
        """Drop the samples that are done."""
        self.left, self.right = ([v[keep] for v in part] for part in (self.left, self.right))
