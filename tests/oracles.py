"""Float64 references that share nothing with pcbook's sweeps and solvers: autograd, dense algebra, brute force.

A network is only read here: its weights, biases, precisions and activation. Activities are lists [z_1, …, z_{L−1}].
"""

import math
from collections import namedtuple

import numpy as np
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcbook import network

SMOOTH = ("linear", "tanh", "softplus", "gelu")
LEAST_SLOPE = {"relu": 0.0, "leaky_relu": 0.01}  # φ′ left of the kink; right of it φ′ is 1
PHI = {
    "linear": lambda u: u,
    "tanh": torch.tanh,
    "relu": lambda u: torch.where(u > 0, u, torch.zeros_like(u)),
    "leaky_relu": lambda u: torch.where(u > 0, u, 0.01 * u),
    "softplus": lambda u: torch.logaddexp(u, torch.zeros_like(u)),
    "gelu": lambda u: 0.5 * u * torch.special.erfc(-u / math.sqrt(2)),
}

# Random problems.

Problem = namedtuple("Problem", "net x y")


def problem(seed, activation, depth, width, batch, biases, precisions, gain=1.0, target=1.0, outputs=None):
    """A float64 network with Gaussian weights of variance gain²/n_{l−1} and Gaussian data; widths up to `width`.

    `precisions` is None, "numbers" or "vectors"; `outputs` fixes n_L. The same arguments give the same problem.
    """
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(0, math.log(width + 1), depth + 1)).astype(int).tolist()
    sizes[-1] = outputs or sizes[-1]

    def gauss(*shape):
        return torch.from_numpy(rng.standard_normal(shape))

    weights = [gain * gauss(n, m) / math.sqrt(m) for m, n in zip(sizes[:-1], sizes[1:], strict=True)]
    b = [0.3 * gauss(n) for n in sizes[1:]] if biases else None
    pi = [torch.from_numpy(np.exp(rng.uniform(-1, 1, n))) for n in sizes[1:]]
    pi = {None: None, "numbers": [float(p[0]) for p in pi], "vectors": pi}[precisions]
    net = network.PCN(weights, activation, b, pi)
    return Problem(net, gauss(batch, sizes[0]), target * gauss(batch, sizes[-1]))


def problems(activations, **fixed):
    """A hypothesis strategy of problems: depths 1–12, widths 1–60, batches 1–8, with biases and precisions or without.

    `fixed` values or strategies replace these.
    """
    drawn = dict(
        seed=st.integers(0, 2**32 - 1),
        activation=st.sampled_from(activations),
        depth=st.integers(1, 12),
        width=st.integers(1, 60),
        batch=st.integers(1, 8),
        biases=st.booleans(),
        precisions=st.sampled_from([None, "numbers", "vectors"]),
        gain=st.sampled_from([0.6, 1.0, 1.4]),
    )
    fixed = {k: v if isinstance(v, st.SearchStrategy) else st.just(v) for k, v in fixed.items()}
    return st.fixed_dictionaries(drawn | fixed)  # arguments, so that a failure prints what reproduces it


def prop(max_examples=25, **strategies):
    """A hypothesis test that draws the same examples every time."""
    configure = settings(max_examples=max_examples, deadline=None, derandomize=True, database=None)
    return lambda test: configure(given(**strategies)(test))


def noisy(net, x, seed=0, size=0.3):
    """Activities around the feedforward pass: a point where no error vanishes."""
    rng = np.random.default_rng(seed)
    return [z + size * torch.from_numpy(rng.standard_normal(z.shape)) for z in feedforward(net, x)[:-1]]


def distance(actual, expected):
    """‖actual − expected‖ / ‖expected‖ over whole lists of tensors; the absolute distance where expected is 0."""
    actual, expected = (torch.cat([t.double().flatten() for t in ts]) for ts in (list(actual), list(expected)))
    return float((actual - expected).norm() / (expected.norm() or 1.0))


# The energy and its derivatives, by autograd.


def layers(net):
    """(W_l, b_l, diagonal of Π_l, φ) from l = 1 to L, all of it float64."""
    for l, w in enumerate(net.weights):
        w = w.double()
        b = w.new_zeros(w.shape[0]) if net.biases is None else net.biases[l].double()
        pi = torch.ones_like(b) if net.precisions is None else torch.ones_like(b) * net.precisions[l].double()
        yield w, b, pi, PHI[net.activation if l < len(net.weights) - 1 else "linear"]


def feedforward(net, x):
    """[z_1, …, z_L]."""
    z = [x.double()]
    for w, b, _, phi in layers(net):
        z.append(phi(z[-1] @ w.T + b))
    return z[1:]


def energy(net, activities, x, y):
    """F of each sample, (B,)."""
    z = [v.double() for v in (x, *activities, y)]
    return sum(
        0.5 * (pi * (above - phi(below @ w.T + b)) ** 2).sum(1)
        for below, above, (w, b, pi, phi) in zip(z[:-1], z[1:], layers(net), strict=True)
    )


def activity_gradients(net, activities, x, y):
    """[∂F/∂z_1, …, ∂F/∂z_{L−1}] of each sample."""
    z = [a.detach().double().requires_grad_() for a in activities]
    return list(torch.autograd.grad(energy(net, z, x, y).sum(), z)) if z else []


def gradients(net, x, y, activities=None):
    """∂/∂W_l, then ∂/∂b_l, of the mean energy, or of the mean loss where `activities` is None."""
    weights = [w.detach().double().clone().requires_grad_() for w in net.weights]
    biases = [
        torch.zeros_like(w[:, 0]) if net.biases is None else net.biases[l].detach().double().clone()
        for l, w in enumerate(weights)
    ]
    biases = [b.requires_grad_() for b in biases]
    fresh = namedtuple("Net", "weights activation biases precisions")(weights, net.activation, biases, net.precisions)
    value = energy(fresh, feedforward(fresh, x)[:-1] if activities is None else activities, x, y).mean()
    found = torch.autograd.grad(value, weights + biases)
    return list(found[: len(weights)]), list(found[len(weights) :])


def error_residual(net, x, y, activities):
    """How far each sample's errors are from an equilibrium, (B,): the length of a dense Gauss–Newton step in them.

    The lengths are ‖Π Δe‖, relative to ‖Π e‖ over all layers, the sample's or the batch's mean, whichever is larger.
    """
    *hidden, (w, b, pi, _) = layers(net)
    z = [x.double(), *(a.detach().double() for a in activities)]
    errors = [v - phi(u @ w.T + b) for u, v, (w, b, _, phi) in zip(z[:-1], z[1:], hidden, strict=True)]
    if not errors:
        return torch.zeros(len(x), dtype=torch.float64)
    stiffness, sizes = torch.cat([p for *_, p, _ in hidden]), [e.shape[1] for e in errors]

    e, below = torch.cat(errors, 1).requires_grad_(), z[0]
    for part, (v, c, _, phi) in zip(e.split(sizes, 1), hidden, strict=True):
        below = phi(below @ v.T + c) + part
    output = below @ w.T + b
    rows = [torch.autograd.grad(output[:, k].sum(), e, retain_graph=True)[0] for k in range(len(w))]
    jacobian, rest, e = torch.stack(rows, 1), pi * (y.double() - output.detach()), e.detach()
    gradient = stiffness * e - (rest[:, None] @ jacobian)[:, 0]
    step = torch.linalg.solve(torch.diag(stiffness) + (jacobian.mT * pi) @ jacobian, gradient)
    size = ((stiffness * e) ** 2).sum(1) + (rest**2).sum(1)
    return ((stiffness * step).square().sum(1) / size.maximum(size.mean()).clamp(min=1e-300)).sqrt()


# Equilibria.


def linear_equilibrium(net, x, y):
    """A linear network's activities at the equilibrium: one dense least-squares problem in all of z_1 … z_{L−1}."""
    parts = list(layers(net))
    sizes = [w.shape[0] for w, *_ in parts]
    starts = np.cumsum([0, *sizes])
    matrix, right = torch.zeros(starts[-1], starts[-1], dtype=torch.float64), []
    for l, (w, b, pi, _) in enumerate(parts):
        rows, root = slice(starts[l], starts[l + 1]), pi.sqrt()
        matrix[rows, rows] = torch.diag(root)
        if l:
            matrix[rows, starts[l - 1] : starts[l]] = -root[:, None] * w
        below = x.double() @ w.T if l == 0 else 0.0
        above = y.double() if l == len(parts) - 1 else 0.0
        right.append(root * (b + below - above).expand(x.shape[0], -1))
    free = matrix[:, : starts[-2]]
    if free.shape[1] == 0:
        return []
    z = torch.linalg.lstsq(free, torch.cat(right, 1).T, driver="gelsd").solution.T
    return list(z.split(sizes[:-1], 1))


def condition(net):
    """The condition number of a linear network's S = Π_L⁻¹ + Σ J_l Π_l⁻¹ J_lᵀ, by which round-off grows."""
    parts = list(layers(net))
    scale, jacobian = torch.diag(1 / parts[-1][2]), torch.eye(len(parts[-1][0]), dtype=torch.float64)
    for (w, *_), (_, _, pi, _) in zip(reversed(parts[1:]), reversed(parts[:-1]), strict=True):
        jacobian = jacobian @ w
        scale = scale + (jacobian / pi) @ jacobian.T
    return float(torch.linalg.cond(scale))


def smooth_equilibrium(net, x, y, start=None, steps=400):
    """The equilibrium that gradient flow from the feedforward pass (or `start`) runs into, for a smooth activation.

    Implicit Euler, (H + 1/dt) Δz = −∂F/∂z with a dt of its own for every sample: it starts small, grows while the
    energy falls, and the step becomes Newton's. Raises `ArithmeticError` unless it ends at a minimum.
    """
    z = [a.double().clone() for a in (feedforward(net, x)[:-1] if start is None else start)]
    if not z:
        return z
    dt = torch.full((x.shape[0],), 0.05, dtype=torch.float64)
    value, first = energy(net, z, x, y), None
    for _ in range(steps):
        g = activity_gradients(net, z, x, y)
        size = sum((a**2).sum(1) for a in g).sqrt()
        first = size if first is None else first
        if bool((size <= 1e-12 * first + 1e-15).all()):
            return z
        delta, definite = _newton(net, z, x, y, g, 1 / dt)
        trial = [a + d for a, d in zip(z, delta, strict=True)]
        new = energy(net, trial, x, y)
        good = definite & (new <= value * (1 + 1e-13))
        z = [torch.where(good[:, None], t, a) for t, a in zip(trial, z, strict=True)]
        value, dt = torch.where(good, new, value), torch.where(good, dt * 2, dt / 4).clamp(max=1e14)
    if bool((size <= 1e-9 * first + 1e-13).all()):  # round-off's floor
        return z
    raise ArithmeticError(f"no equilibrium: gradient {size.tolist()} from {first.tolist()}")


def _newton(net, z, x, y, g, shift):
    """−(H + shift)⁻¹ g by elimination over the blocks of the block-tridiagonal H; and where the matrix is definite."""
    zs, parts = [x.double(), *z, y.double()], list(layers(net))
    slopes, curvatures = [], []
    for below, above, (w, b, pi, phi) in zip(zs[:-1], zs[1:], parts, strict=True):
        u = (below @ w.T + b).detach().requires_grad_()
        (d1,) = torch.autograd.grad(phi(u).sum(), u, create_graph=True)
        d2 = torch.autograd.grad(d1.sum(), u)[0] if d1.requires_grad else torch.zeros_like(u)
        d1 = d1.detach()
        slopes.append(pi * d1)
        curvatures.append(pi * (d1**2 - (above - phi(u).detach()) * d2))
    definite, factors, right = torch.ones(x.shape[0], dtype=torch.bool), [], []
    for l, a in enumerate(z):
        w, pi = parts[l + 1][0], parts[l][2]
        block = torch.diag_embed(pi + shift[:, None].expand_as(a)) + w.T @ (curvatures[l + 1][:, :, None] * w)
        b = -g[l]
        if l:
            link = -slopes[l][:, :, None] * parts[l][0]  # ∂²F/∂z_l∂z_{l−1}
            solved = torch.cholesky_solve(torch.cat([link.mT, right[-1][:, :, None]], 2), factors[-1])
            block = block - link @ solved[:, :, :-1]
            b = b - (link @ solved[:, :, -1:])[:, :, 0]
        factor, info = torch.linalg.cholesky_ex(block)
        definite &= info == 0
        factors.append(factor)
        right.append(b)
    delta = []
    for l in reversed(range(len(z))):
        b = right[l]
        if delta:
            b = b + (slopes[l + 1] * delta[-1]) @ parts[l + 1][0]
        delta.append(torch.cholesky_solve(b[:, :, None], factors[l])[:, :, 0])
    return delta[::-1], definite


def euler(net, x, y, steps=1000, dt=0.1):
    """The paper's inference: z ← z − dt ∂F/∂z from the feedforward pass, all layers at once; dt is halved, at most
    twice, when the batch's energy does not fall. NumPy: thousands of steps on small matrices."""
    slope = {"linear": None, "tanh": lambda u, h: 1 - h * h}.get(net.activation, LEAST_SLOPE.get(net.activation))
    if net.activation in ("softplus", "gelu"):
        raise ValueError("euler knows linear, tanh, relu and leaky_relu")
    parts = [[t.detach().numpy() for t in (w, b, pi)] for w, b, pi, _ in layers(net)]
    z = [a.numpy().copy() for a in feedforward(net, x)[:-1]]
    x, y = x.double().numpy(), y.double().numpy()
    last, halvings = math.inf, 0
    for _ in range(steps):
        mu, back, total = [], [], 0.0
        for l, (w, b, pi) in enumerate(parts):
            u = (z[l - 1] if l else x) @ w.T + b
            if l == len(parts) - 1:
                h, d = u, None
            elif net.activation == "tanh":
                h = np.tanh(u)
                d = slope(u, h)
            elif slope is None:
                h, d = u, None
            else:
                d = np.where(u > 0, 1.0, slope)
                h = u * d
            e = (y if l == len(parts) - 1 else z[l]) - h
            mu.append(pi * e)
            back.append(mu[-1] if d is None else d * mu[-1])
            total += 0.5 * float((e * mu[-1]).sum())
        if total >= last and halvings < 2:
            dt, halvings = dt / 2, halvings + 1
        last = total
        for l in range(len(z)):
            z[l] -= dt * (mu[l] - back[l + 1] @ parts[l + 1][0])
    return [torch.from_numpy(a) for a in z]


def clarke_residual(net, activities, x, y, kink):
    """The least ‖∂F/∂z‖ of each sample, (B,), over the slopes that a ReLU or leaky ReLU admits: any between the two
    sides' at units with |u| ≤ `kink`. A bounded least-squares problem for every layer and sample."""
    parts = [[t.detach().numpy() for t in (w, b, pi)] for w, b, pi, _ in layers(net)]
    z = [v.detach().double().numpy() for v in (x, *activities, y)]
    low, last = LEAST_SLOPE[net.activation], len(parts) - 1
    u = [below @ w.T + b for below, (w, b, _) in zip(z[:-1], parts, strict=True)]
    h = [np.where(v > 0, v, low * v) if l < last else v for l, v in enumerate(u)]
    mu = [pi * (a - p) for a, p, (_, _, pi) in zip(z[1:], h, parts, strict=True)]
    squares = np.zeros(len(z[0]))
    for l in range(last):
        w = parts[l + 1][0]
        for i, (m, above, v) in enumerate(zip(mu[l], mu[l + 1], u[l + 1], strict=True)):
            free = np.abs(v) <= kink if l + 1 < last else np.zeros(len(v), dtype=bool)
            free &= above != 0
            slope = np.where(v > 0, 1.0, low) if l + 1 < last else np.ones(len(v))
            rest = m - (np.where(free, 0.0, slope) * above) @ w
            if free.any():
                matrix = (above[free, None] * w[free]).T
                fit = scipy.optimize.lsq_linear(matrix, rest, (low, 1.0), method="bvls", tol=1e-14)
                rest = rest - matrix @ np.clip(fit.x, low, 1.0)
            squares[i] += rest @ rest
    return torch.from_numpy(np.sqrt(squares))
