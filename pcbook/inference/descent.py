"""Monotone inference for hard cases: a trust-region Newton method in the errors, sample by sample. Torch.

In the coordinates e = (e_1 … e_{L−1}) the energy is ½ eᵀΠe + ½ rᵀΠ_L r. Each step minimises its quadratic model in a
ball by conjugate gradients (Steihaug), preconditioned by Gauss and Newton's (Π + JᵀΠ_L J)⁻¹, which Woodbury's
identity makes a matrix with n_L rows. A step is taken only where it lowers the energy of its sample.
The Hessian is Gauss and Newton's Π + JᵀΠ_L J, or the full one with the activations' second derivatives.
"""

import functools

import torch

from pcbook import network
from pcbook.inference.equilibrium import State, merge, relative_step
from pcbook.inference.response import newton_step, per_sample

SAFETY = 0.1  # the Hessian may be flatter than Gauss and Newton's, by which the distance is estimated


def solve(net, x, y, rtol, max_iterations, full):
    """(State, iterations, done) from the feedforward pass; `full` asks for the exact Hessian.

    A sample is done when the next Gauss–Newton step is at most rtol, relatively. Samples that no step improves any
    more stop where they are.
    """
    point = _Point(net, x, y, x.new_zeros(len(x), sum(net.sizes[1:-1])))
    radius = 10 * torch.linalg.vector_norm(point.precondition(point.gradient), dim=1)
    live, pieces, iteration = torch.arange(len(x), device=x.device), [], 0
    finished = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    while True:
        done = relative_step(net, point.y, point.state()) <= SAFETY * rtol
        finished[live] = done
        stop = done | (radius <= 1e-12 * (1 + torch.linalg.vector_norm(point.errors, dim=1)))
        if iteration == max_iterations or bool(stop.all()):
            return merge([*pieces, (live, point.state())]), iteration, finished
        if bool(stop.any()):
            pieces.append((live[stop], point.state().select(stop)))
            live, radius = live[~stop], radius[~stop]
            point = _Point(net, point.x[~stop], point.y[~stop], point.errors[~stop])
        iteration += 1
        step, predicted = _steihaug(point, radius, full)
        trial = _Point(net, point.x, point.y, point.errors + step)
        gain = (point.energy - trial.energy) / predicted.double().clamp_min(torch.finfo(torch.float64).tiny)
        # Where both are round-off, the model is all there is to go by.
        noise = 4 * torch.finfo(x.dtype).eps * point.energy
        gain = torch.where((predicted <= noise) & (trial.energy <= point.energy + noise), 1.0, gain).nan_to_num(-1.0)
        length = torch.linalg.vector_norm(step, dim=1)
        radius = torch.where(gain < 0.25, 0.25 * length, torch.where(gain > 0.75, radius.maximum(2 * length), radius))
        better = (gain > 1e-4)[:, None]
        point = _Point(net, point.x, point.y, torch.where(better, trial.errors, point.errors))


class _Point:
    """Errors (B, N), and everything about the energy there: e is the only coordinate."""

    def __init__(self, net, x, y, errors):
        self.net, self.x, self.y, self.errors = net, x, y, errors
        self.layers = list(errors.split(net.sizes[1:-1], dim=1))
        self.sweep = network.sweep(net, x, self.layers)
        self.residual = y - self.sweep.output
        self.energy = network.quadratic(net, [*self.layers, self.residual])
        self.mu = network.adjoint(net, self.sweep.slopes, network.weigh_layer(net, -1, self.residual))
        self.weighted = torch.cat(network.weigh(net, [*self.layers, self.residual])[:-1], dim=1)
        self.gradient = self.weighted - torch.cat(self.mu, dim=1)

    def state(self):
        *mu, top = network.weigh(self.net, [*self.layers, self.residual])
        deltas = [network.times(m, d) for m, d in zip(mu, self.sweep.slopes, strict=True)]
        return State(self.sweep.inputs, self.layers, self.sweep.output, [*deltas, top])

    @functools.cached_property
    def response(self):
        """Each sample's linear response at these errors."""
        return per_sample(self.net, self.sweep.slopes)

    def precondition(self, v):
        """(Π + JᵀΠ_L J)⁻¹ v."""
        parts = list(v.split(self.net.sizes[1:-1], dim=1))
        return -torch.cat(newton_step(self.net, self.response, parts), dim=1)

    def product(self, p, full):
        """The Hessian times p (B, N): one tangent pass up, one down."""
        net, moved, z = self.net, [], None
        parts = p.split(net.sizes[1:-1], dim=1)
        for l, (w, d, e) in enumerate(zip(net.weights[:-1], self.sweep.slopes, parts, strict=True)):
            moved.append(None if z is None else z @ w.t())
            z = e if l == 0 else network.times(moved[-1], d) + e
        top = network.weigh_layer(net, -1, -(z @ net.weights[-1].t()))
        change = []
        for l in reversed(range(len(moved))):
            top = top @ net.weights[l + 1]
            change.append(top)
            top = network.times(top, self.sweep.slopes[l])
            if full and moved[l] is not None:
                bend = network.ACTIVATIONS[net.activation].bend(self.sweep.preactivations[l])
                top = top + network.times(moved[l] * self.mu[l], bend) if bend is not None else top
        weighted = torch.cat(network.weigh(net, [*parts, self.residual])[:-1], dim=1)
        return weighted - torch.cat(change[::-1], dim=1)


def _steihaug(point, radius, full, limit=100):
    """Steps p in the balls ‖p‖ ≤ radius by conjugate gradients, (B, N), and by how much the model falls, (B,)."""
    g = point.gradient
    p, image, residual = torch.zeros_like(g), torch.zeros_like(g), g.clone()
    z = point.precondition(residual)
    direction, product = -z, (residual * z).sum(1)
    size = torch.linalg.vector_norm(g, dim=1)
    target = size * torch.minimum(torch.full_like(size, 0.1), (size / size.max().clamp_min(1e-30)).sqrt() * 1e-2)
    open_ = torch.ones(len(g), dtype=torch.bool, device=g.device)
    for _ in range(limit):
        curved = point.product(direction, full)
        curvature = (direction * curved).sum(1)
        flat = curvature <= 0
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
    return p, -((g * p).sum(1) + 0.5 * (p * image).sum(1))


def _to_boundary(p, d, radius):
    """τ ≥ 0 with ‖p + τd‖ = radius."""
    a, b, c = (d * d).sum(1), (p * d).sum(1), (p * p).sum(1) - radius**2
    root = (b * b - a * c).clamp_min(0).sqrt()
    return torch.where(a > 0, (root - b) / torch.where(a > 0, a, 1.0), 0.0).clamp_min(0)
