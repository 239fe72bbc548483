"""Monotone inference for hard cases: a trust-region Newton method in the errors, sample by sample. Torch.

In the coordinates e = (e_1 … e_{L−1}) the energy is ½ eᵀΠe + ½ rᵀΠ_L r. Each step minimises its quadratic model in a
ball by conjugate gradients (Steihaug), preconditioned by Gauss and Newton's (Π + JᵀΠ_L J)⁻¹, which Woodbury's
identity makes a matrix with n_L rows. A step is taken only where it lowers the energy of its sample.
The Hessian is Gauss and Newton's Π + JᵀΠ_L J, or the full one with the activations' second derivatives.
"""

import functools
import math
from typing import cast

import torch
from torch import Tensor

from pcbook import network
from pcbook.inference.response import Response, newton_step, per_sample
from pcbook.inference.rules import Held, down
from pcbook.inference.state import State, merge, noise

SAFETY = 0.25  # a gradient is a product of two factors that err


def solve(
    net: network.PCN, x: Tensor, y: Tensor, rtol: float, max_iterations: int, full: bool
) -> tuple[State, int, Tensor]:
    """(State, iterations, done) from the feedforward pass; `full` asks for the exact Hessian.

    A sample is done when the next Newton step is at most rtol, relatively. Samples that no step improves any more stop
    where they are.
    """
    point = _Point(net, x, y, x.new_zeros(len(x), sum(net.sizes[1:-1])))
    radius = 10 * torch.linalg.vector_norm(point.precondition(point.gradient), dim=1)
    live, iteration = torch.arange(len(x), device=x.device), 0
    pieces: list[tuple[Tensor, State]] = []
    finished = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    while True:
        # Alone: the mean of the samples that are left is not the batch's.
        done = relative_step(net, point.x, point.y, point.state(), alone=True) <= SAFETY * rtol
        finished[live] = done
        stop = done | (radius <= 1e-12 * (1 + torch.linalg.vector_norm(point.errors, dim=1)))
        if iteration == max_iterations or bool(stop.all()):
            return merge([*pieces, (live, point.state())]), iteration, finished
        if bool(stop.any()):
            pieces.append((live[stop], point.state().select(stop)))
            live, radius = live[~stop], radius[~stop]
            point = _Point(net, point.x[~stop], point.y[~stop], point.errors[~stop])
        iteration += 1
        step, predicted, _ = _steihaug(point, radius, full)
        trial = _Point(net, point.x, point.y, point.errors + step)
        gain = _gain(point.energy, trial.energy, predicted.double(), torch.finfo(x.dtype).eps)
        radius = _adapted(radius, torch.linalg.vector_norm(step, dim=1), gain)
        better = (gain > 1e-4)[:, None]
        point = _Point(net, point.x, point.y, torch.where(better, trial.errors, point.errors))


def _gain(before: Tensor, after: Tensor, predicted: Tensor, eps: float) -> Tensor:
    """The fall in energy over the predicted one, (B,); −1 where it is no number.

    Where both are round-off, the model is all there is to go by: 1.
    """
    gain = (before - after) / predicted.clamp_min(torch.finfo(torch.float64).tiny)
    noise = 4 * eps * before
    return torch.where((predicted <= noise) & (after <= before + noise), 1.0, gain).nan_to_num(-1.0)


def _adapted(radius: Tensor, length: Tensor, gain: Tensor) -> Tensor:
    """The next radius: a quarter of a step that gained less than ¼, at least twice one that gained more than ¾.

    Nocedal and Wright, Numerical Optimization (2006), Algorithm 4.1.
    """
    return torch.where(gain < 0.25, 0.25 * length, torch.where(gain > 0.75, radius.maximum(2 * length), radius))


def relative_step(net: network.PCN, x: Tensor, y: Tensor, state: State, alone: bool = False) -> Tensor:
    """‖Π Δe‖ / ‖Π e‖ of each sample, (B,) float64, with Δe the next Newton step in the errors, and Πe in all layers.

    To first order it is the relative error of the weighted errors Πe, of which weight gradients are made, however stiff
    a layer is; infinite where the energy curves downwards. ‖Π e‖² counts as the batch's mean at least, unless each
    sample stands `alone`, and a step that the dtype cannot tell from none is none. At kinks the step is Gauss and
    Newton's, after one step of the multipliers.
    """
    if not state.errors:
        return torch.zeros_like(y[:, 0], dtype=torch.float64)
    smooth = not network.ACTIVATIONS[net.activation].kinked
    step = (_newton if smooth else _kinked_step)(net, x, y, state).split(net.sizes[1:-1], dim=1)
    size, length = (
        torch.stack([network.weigh_layer(net, l, e).double().square().sum(1) for l, e in enumerate(errors)]).sum(0)
        for errors in ([*state.errors, y - state.output], step)
    )
    floor = noise(net, y, state.output).double().square()
    least = floor if alone else floor.maximum(size.mean())
    return torch.where(length <= floor, 0.0, length / size.maximum(least)).sqrt()


def _newton(net: network.PCN, x: Tensor, y: Tensor, state: State) -> Tensor:
    """−H⁻¹g in the errors (B, N); infinite where H is not positive along the way."""
    point = _Point(net, x, y, torch.cat(state.errors, dim=1))
    step, _, downwards = _steihaug(point, torch.full_like(y[:, 0], math.inf), full=True)
    return torch.where(downwards[:, None], math.inf, step)


def _kinked_step(net: network.PCN, x: Tensor, y: Tensor, state: State) -> Tensor:
    """−(Π + JᵀΠ_L J)⁻¹ g with g = Πe − μ, μ from Π_L (y − u_L) and the multipliers, (B, N)."""
    errors, deltas = torch.cat(state.errors, dim=1), torch.cat(state.deltas[:-1], dim=1)
    # At kinks no slope is None.
    u, slopes = (torch.cat(cast(list[Tensor], v), dim=1) for v in network.slopes(net, state.inputs))
    rule = Held(net)
    mu, deltas = down(net, rule, network.weigh_layer(net, -1, y - state.output), (deltas, u * rule.gains))
    slopes = torch.where(mu == 0, slopes, deltas / torch.where(mu == 0, 1.0, mu))  # between the leak and 1 at the kink
    return newton_step(net, per_sample(net, slopes), network.weigh_hidden(net, errors) - mu)


class _Point:
    """Errors (B, N), and everything about the energy there: e is the only coordinate."""

    def __init__(self, net: network.PCN, x: Tensor, y: Tensor, errors: Tensor) -> None:
        self.net, self.x, self.y, self.errors = net, x, y, errors
        self.layers = list(errors.split(net.sizes[1:-1], dim=1))
        self.sweep = network.sweep(net, x, self.layers)
        self.residual = y - self.sweep.output
        self.energy = network.quadratic(net, [*self.layers, self.residual])
        self.mu = network.adjoint(net, self.sweep.slopes, network.weigh_layer(net, -1, self.residual))
        self.gradient = network.weigh_hidden(net, errors) - torch.cat(self.mu, dim=1)

    def state(self) -> State:
        *mu, top = network.weigh(self.net, [*self.layers, self.residual])
        deltas = [network.times(m, d) for m, d in zip(mu, self.sweep.slopes, strict=True)]
        return State(self.sweep.inputs, self.layers, self.sweep.output, [*deltas, top])

    @functools.cached_property
    def response(self) -> Response:
        """Each sample's linear response at these errors."""
        slopes = self.sweep.slopes
        return per_sample(self.net, None if slopes[0] is None else torch.cat(cast(list[Tensor], slopes), dim=1))

    def precondition(self, v: Tensor) -> Tensor:
        """(Π + JᵀΠ_L J)⁻¹ v."""
        return -newton_step(self.net, self.response, v)

    def product(self, p: Tensor, full: bool) -> Tensor:
        """The Hessian times p (B, N): one tangent pass up, one down."""
        net, moved, z = self.net, list[Tensor | None](), p[:, :0]
        parts = p.split(net.sizes[1:-1], dim=1)
        for l, (w, d, e) in enumerate(zip(net.weights[:-1], self.sweep.slopes, parts, strict=True)):
            moved.append(z @ w.t() if l else None)  # x does not move
            z = e if moved[-1] is None else network.times(moved[-1], d) + e
        top = network.weigh_layer(net, -1, -(z @ net.weights[-1].t()))
        change = []
        for l in reversed(range(len(moved))):
            top = top @ net.weights[l + 1]
            change.append(top)
            top = network.times(top, self.sweep.slopes[l])
            if full and (kick := moved[l]) is not None:
                bend = network.ACTIVATIONS[net.activation].bend(self.sweep.preactivations[l])
                top = top + network.times(kick * self.mu[l], bend) if bend is not None else top
        return network.weigh_hidden(net, p) - torch.cat(change[::-1], dim=1)


def _steihaug(point: _Point, radius: Tensor, full: bool, limit: int = 100) -> tuple[Tensor, Tensor, Tensor]:
    """Steps p in the balls ‖p‖ ≤ radius by conjugate gradients, (B, N), and by how much the model falls, (B,).

    The third return value says where the model curves downwards.
    """
    g = point.gradient
    p, image, residual = torch.zeros_like(g), torch.zeros_like(g), g.clone()
    z = point.precondition(residual)
    direction, product = -z, (residual * z).sum(1)
    size = torch.linalg.vector_norm(g, dim=1)
    target = size * torch.minimum(torch.full_like(size, 0.1), (size / size.max().clamp_min(1e-30)).sqrt() * 1e-2)
    open_ = torch.ones(len(g), dtype=torch.bool, device=g.device)
    downwards = torch.zeros_like(open_)
    for _ in range(limit):
        curved = point.product(direction, full)
        curvature = (direction * curved).sum(1)
        flat = curvature <= 0
        downwards |= open_ & flat & (product > 0)
        alpha = product / torch.where(flat, 1.0, curvature)
        out = flat | (torch.linalg.vector_norm(p + alpha[:, None] * direction, dim=1) >= radius)
        alpha = torch.where(out, _to_boundary(p, direction, radius), alpha) * open_
        p, image = p + alpha[:, None] * direction, image + alpha[:, None] * curved
        residual = residual + alpha[:, None] * curved
        open_ = open_ & ~out & (torch.linalg.vector_norm(residual, dim=1) > target)
        if not bool(open_.any()):
            break
        z = point.precondition(residual)
        fresh = (residual * z).sum(1)
        beta = fresh / torch.where(product == 0, 1.0, product)
        direction, product = beta[:, None] * direction - z, fresh
    return p, -((g * p).sum(1) + 0.5 * (p * image).sum(1)), downwards


def _to_boundary(p: Tensor, d: Tensor, radius: Tensor) -> Tensor:
    """τ ≥ 0 with ‖p + τd‖ = radius."""
    a, b, c = (d * d).sum(1), (p * d).sum(1), (p * p).sum(1) - radius**2
    root = (b * b - a * c).clamp_min(0).sqrt()
    return torch.where(a > 0, (root - b) / torch.where(a > 0, a, 1.0), 0.0).clamp_min(0)
