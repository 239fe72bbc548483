"""Robust inference for ReLU and leaky ReLU: Newton's method between smoothed kinks, which sharpen. Torch.

The energy is piecewise quadratic in the activities z, and its pieces meet where some u_l = 0. There the slope s of φ
may be any number between the leak a and 1, and an equilibrium obeys, for whatever h > 0,

    Π_l e_l = μ_l = W_{l+1}ᵀ (s_{l+1} ⊙ μ_{l+1}),    s_l = clip(s_l + u_l / h, a, 1).

That is an augmented Lagrangian's way to say so, and a way to solve it. Write c for the s on the right and keep it:
φ becomes the smooth φ_c(u) = ∫₀ᵘ clip(c + v/h, a, 1) dv, and its energy has a minimum that Newton steps find. Then
c ← s, h shrinks, and so on. Where c = s, φ_c(u) = φ(u) whatever h is: the kinks are exact at the end.

An energy with kinks has many minima. The paper's own steps choose one: some of them come first. Whether all of them
would have chosen another one, is seen from which units are on; if so, they are taken, and the lower end counts.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor

from pcbook import network
from pcbook.inference import euler
from pcbook.inference.newton import relative_step
from pcbook.inference.state import State, merge

EULER = 500  # steps that choose the minimum
LATER = (1000, 2000, 4000)  # steps after which they are asked again, the last time for where they lead
# h, relative to how far u can move: first, first where a minimum is near, last, and from one to the next.
WIDEST, NARROW, NARROWEST, SHRINK = 0.01, 4e-4, 1e-5, 0.2
ENTRIES = 2_000_000  # the most numbers that the Hessian blocks of one sample, or of samples solved together, may hold


def solve(
    net: network.PCN, x: Tensor, y: Tensor, rtol: float, max_iterations: int, patient: bool = False
) -> tuple[State, int, Tensor]:
    """(State, iterations, done) of a network with hidden layers.

    `done` (B,) says where `relative_step` is at most rtol. All of it is float64 inside. An iteration is one Newton
    step, Σ n_l³ operations a sample, after `EULER` sweeps; samples that these leave with more energy than the
    feedforward pass start from that. `patient` asks for an end that is no higher than that of `LATER[-1]` Euler steps.
    Networks with Σ n_l² > `ENTRIES` are not tried: nothing is done.
    """
    own, net, x, y = net.dtype, net.to(torch.float64), x.double(), y.double()
    size = sum(n * n for n in net.sizes[1:-1])
    together, limit = max(1, ENTRIES // size), max_iterations if size <= ENTRIES else 0
    rows = torch.arange(len(x), device=x.device).split(together)
    parts = [_follow(net, x[r], y[r], rtol, limit, patient) for r in rows]
    states, iterations, done = zip(*parts, strict=True)
    return _cast(merge(list(zip(rows, states, strict=True))), own), max(iterations), torch.cat(done)


def _follow(
    net: network.PCN, x: Tensor, y: Tensor, rtol: float, limit: int, patient: bool
) -> tuple[State, int, Tensor]:
    """`_solve` from where Euler steps lead to, and again where many more of them would lead to less energy."""
    walked = euler.walk(net, x, y)
    z = euler.after(walked, EULER if limit else 0)
    state, iterations, done = _solve(net, x, y, _lower(net, x, y, z), rtol, limit, WIDEST)
    if not (patient and limit):
        return state, iterations, done
    taken = EULER
    for steps in LATER:
        if bool(_agree(net, x, z, state).all()):
            return state, iterations, done
        z, taken = euler.after(walked, steps - taken - 1), steps
    rows = (_energy(net, z, x, y) < _energy(net, state.inputs[1:], x, y)).nonzero().squeeze(1)
    if len(rows):
        again, more, finished = _solve(net, x[rows], y[rows], [v[rows] for v in z], rtol, limit, NARROW)
        lower = (
            network.quadratic(net, [*again.errors, y[rows] - again.output]) < _energy(net, state.inputs[1:], x, y)[rows]
        )
        better = lower & (finished | ~done[rows])
        state, iterations = state.replace(rows[better], again.select(better)), iterations + more
        done = done.index_put((rows[better],), finished[better])
    return state, iterations, done


def _agree(net: network.PCN, x: Tensor, z: list[Tensor], state: State) -> Tensor:
    """Whether the same units are on at activities z as in a state, (B,), those at their kinks not counted."""
    same = torch.ones(len(x), dtype=torch.bool, device=x.device)
    here, there = (network.slopes(net, v)[0] for v in ([x, *z], state.inputs))
    mu = network.weigh(net, [*state.errors, state.output])[:-1]
    for a, b, delta, error in zip(here, there, state.deltas[:-1], mu, strict=True):
        off = network.LEAK * error if net.activation == "leaky_relu" else torch.zeros_like(error)
        resting = (delta - torch.where(b > 0, error, off)).abs() > 1e-9 * error.abs()
        same &= (resting | ((a > 0) == (b > 0))).all(1)
    return same


def _solve(
    net: network.PCN, x: Tensor, y: Tensor, z: list[Tensor], rtol: float, max_iterations: int, widest: float
) -> tuple[State, int, Tensor]:
    flow = _Flow(net, x, y, z, widest)
    live, iteration = torch.arange(len(x), device=x.device), 0
    pieces: list[tuple[Tensor, State]] = []
    finished = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    while True:
        state = flow.state()
        done = relative_step(net, flow.x, flow.y, state, alone=True) <= rtol  # for others have left the batch
        finished[live] = done
        if iteration >= max_iterations or bool(done.all()):
            return merge([*pieces, (live, state)]), iteration, finished
        if bool(done.any()):
            pieces.append((live[done], state.select(done)))
            live = live[~done]
            flow.select(~done)
        settled = torch.zeros_like(live, dtype=torch.bool)
        while iteration < max_iterations and not bool(settled.any()):
            settled = flow.step()
            iteration += 1
        flow.sharpen(settled)


def _cast(state: State, dtype: torch.dtype) -> State:
    lists = ([v.to(dtype) for v in part] for part in (state.inputs, state.errors, [state.output], state.deltas))
    inputs, errors, (output,), deltas = lists
    return State(inputs, errors, output, deltas)


def _lower(net: network.PCN, x: Tensor, y: Tensor, z: list[Tensor]) -> list[Tensor]:
    """Activities z; the feedforward pass in samples where that has less energy."""
    forward = network.sweep(net, x).inputs[1:]
    lower = _energy(net, z, x, y) <= _energy(net, forward, x, y)
    return [torch.where(lower[:, None], v, f) for v, f in zip(z, forward, strict=True)]


def _energy(net: network.PCN, z: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    return network.quadratic(net, network.local(net, z, x, y)[0])


def _reach(energy: Tensor) -> Tensor:
    return (2 * energy).sqrt().clamp_min(1e-150)


class _Look(NamedTuple):
    slopes: list[Tensor]  # s_l, l < L
    bends: list[Tensor]  # ∂s_l/∂u_l, l < L
    mu: list[Tensor]  # Π_l e_l, l ≤ L
    energy: Tensor  # F (B, 1)


class _Flow:
    """Activities z, the slopes c, and what differs between samples, (B, 1): h and a pseudo-time τ.

    Steps are implicit Euler steps of the gradient flow, (H + 1/τ) Δz = −∂F/∂z. τ grows while the energy falls, and they
    turn into Newton's. H leaves out the negative curvature of kinks with μ > 0, so it is positive definite.
    """

    def __init__(self, net: network.PCN, x: Tensor, y: Tensor, z: list[Tensor], widest: float) -> None:
        self.net, self.x, self.y, self.z = net, x, y, z
        self.leak = network.LEAK if net.activation == "leaky_relu" else 0.0
        self.precision = network.weigh(net, [torch.ones_like(w[:, 0]) for w in net.weights])
        self.c = cast(list[Tensor], network.slopes(net, [x, *z])[1])  # at kinks no slope is None
        # Errors with the energy F move u by √(2F) ‖w‖ at most, in the metric Π⁻¹: the unit for h.
        norms = [(w.square() @ (1 / p)).sqrt() for w, p in zip(net.weights[1:], self.precision[:-1], strict=True)]
        first = torch.ones_like(z[0][0])  # whose u never move
        self.norms = [first, *(n.clamp_min(1e-100) for n in norms[:-1])]
        self.reach = _reach(_energy(net, z, x, y)[:, None])
        self.h, self.time = torch.full_like(self.reach, widest), torch.ones_like(self.reach)
        self.here = self.look(z)

    def look(self, z: list[Tensor]) -> _Look:
        """The smoothed energy at z and what its derivatives are made of."""
        u, _ = network.slopes(self.net, [self.x, *z])
        *_, top = network.local(self.net, z, self.x, self.y)[0]
        errors, slopes, bends = [], [], []
        for v, a, c, norm in zip(z, u, self.c, self.norms, strict=True):
            h = self.h * self.reach * norm
            s = (c + a / h).clamp(self.leak, 1.0)
            errors.append(v - (s * a - 0.5 * h * (s - c).square()))  # z − φ_c(u)
            slopes.append(s)
            bends.append(((s > self.leak) & (s < 1)) / h)
        errors.append(top)
        return _Look(slopes, bends, network.weigh(self.net, errors), network.quadratic(self.net, errors)[:, None])

    def state(self) -> State:
        """The `State` of the network with its kinks."""
        errors, _, below = network.local(self.net, self.z, self.x, self.y)
        mu = network.weigh(self.net, errors)
        deltas = [m * s for m, s in zip(mu, self.here.slopes, strict=False)]
        return State(below, errors[:-1], self.y - errors[-1], [*deltas, mu[-1]])

    def step(self) -> Tensor:
        """One step, in the samples where it lowers the energy. Returns which are at the minimum for their h, (B,)."""
        gradient = network.descent(self.net, self.here.mu, self.here.slopes)
        step = self.direction(gradient)
        fall = -sum((d * g).sum(1, keepdim=True) for d, g in zip(step, gradient, strict=True))
        trial = [z + d for z, d in zip(self.z, step, strict=True)]
        noise = 1e-14 * self.here.energy
        good = self.look(trial).energy <= self.here.energy - 0.1 * fall + noise
        small = fall <= 2 * self.here.energy * (0.1 * self.h).square() + noise
        settled = good & small & (self.time > 10)
        self.z = [torch.where(good, t, z) for t, z in zip(trial, self.z, strict=True)]
        self.time = torch.where(good, 3 * self.time, self.time / 5).clamp(1e-12, 1e12)
        self.here = self.look(self.z)
        return settled[:, 0]

    def direction(self, gradient: list[Tensor]) -> list[Tensor]:
        """−(H + 1/τ)⁻¹ ∂F/∂z: H is block tridiagonal, and is eliminated one layer after the other."""
        weights, pi, (slopes, bends, mu, _) = self.net.weights, self.precision, self.here
        links, factors, right = [gradient[0]], list[Tensor](), list[Tensor]()  # nothing links to the first layer
        for l, g in enumerate(gradient):
            stiff = pi[l + 1].expand(len(g), -1)
            if l + 1 < len(slopes):
                stiff = stiff * slopes[l + 1].square() + bends[l + 1] * (-mu[l + 1]).clamp_min(0)
            block = torch.diag_embed(pi[l] + 1 / self.time) + (weights[l + 1].t() * stiff[:, None]) @ weights[l + 1]
            b = -g[:, :, None]
            if l:
                links.append(-(pi[l] * slopes[l])[:, :, None] * weights[l])  # ∂²F/∂z_l∂z_{l−1}
                solved = torch.cholesky_solve(torch.cat([links[l].mT, right[-1]], 2), factors[-1])
                block, b = block - links[l] @ solved[:, :, :-1], b - links[l] @ solved[:, :, -1:]
            factors.append(torch.linalg.cholesky_ex(block).L)
            right.append(b)
        step = [torch.cholesky_solve(right[-1], factors[-1])]
        for l in reversed(range(len(right) - 1)):
            step.append(torch.cholesky_solve(right[l] - links[l + 1].mT @ step[-1], factors[l]))
        return [s[:, :, 0] for s in reversed(step)]

    def sharpen(self, rows: Tensor) -> None:
        """c ← s and a smaller h in some samples."""
        self.c = [torch.where(rows[:, None], s, c) for s, c in zip(self.here.slopes, self.c, strict=True)]
        self.reach = torch.where(rows[:, None], _reach(self.here.energy), self.reach)
        self.h = torch.where(rows[:, None], (SHRINK * self.h).clamp_min(NARROWEST), self.h)
        self.here = self.look(self.z)

    def select(self, keep: Tensor) -> None:
        """Go on with some samples."""
        parts = (self.x, self.y, self.reach, self.h, self.time)
        self.x, self.y, self.reach, self.h, self.time = (v[keep] for v in parts)
        self.z, self.c = ([v[keep] for v in part] for part in (self.z, self.c))
        self.here = self.look(self.z)
