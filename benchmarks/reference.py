"""The float64 equilibrium that every method's weight gradients are compared with, found in the same run.

It shares no code with the solvers that it judges. Unknowns are the errors e_l; z_l = φ(u_l) + e_l.

Smooth activations: Gauss–Newton from the feedforward pass, with every sample's own J_l = ∂output/∂e_l and a step of
its own that never lets its energy rise. All methods are compared with this one equilibrium.

ReLU has several local equilibria, and they sit on its kinks: many units have u = 0, where φ′ is any number in [0, 1]
and m = φ′ e any between 0 and e. So the search starts at the method's own end, and each method is compared with the
equilibrium that it was approaching. One iteration takes the errors downwards from the output error λ and the
multipliers, e_l = W_{l+1}ᵀ m_{l+1}, then the activities upwards; that corrects λ, and each multiplier by projection.

A kink with e < 0 attracts, and units rest there. One with e > 0 repels, and equilibria on its two sides are different
ones. An iterate may cross such a kink by chance. So there are two searches: one in which these units keep the slope
that they have at the method's end, and one in which they do not. Each sample's nearer equilibrium counts.
"""

import math

import torch

from pcbook import network

STALL = 60  # iterations without progress after which a search takes half its steps


def equilibrium(net, x, y, activities=None, tolerance=1e-8, iterations=1500):
    """(weight gradients, activities, residual) in float64, from `activities` or the feedforward pass.

    No biases or precisions. The residual is relative to the feedforward pass's.
    """
    net, x, y = net.to(torch.float64), x.double(), y.double()
    if net.activation == "relu":
        z = network.forward(net, x)[:-1] if activities is None else [a.double() for a in activities]
        m, z, residual = _nearest(net, x, y, z, tolerance, iterations)
    else:
        m, z, residual = _smooth(net, x, y, tolerance, iterations)
    gradients = [-(a.t() @ b) / len(x) for a, b in zip(m, [x, *z], strict=True)]
    return gradients, z, residual


def _smooth(net, x, y, tolerance, iterations):
    e = [x.new_zeros(len(x), len(w)) for w in net.weights[:-1]]
    u, slopes, z, out = _ascend(net, x, e)
    step, scale = x.new_ones(len(x), 1), None
    for _ in range(iterations):
        r, j = y - out, _jacobians(net, slopes)
        down = [_times(r, a) for a in j]
        residual = math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(e, down, strict=True)))
        scale = scale or residual
        if residual <= tolerance * scale:
            break
        target = r + sum((a @ b.unsqueeze(-1)).squeeze(-1) for a, b in zip(j, e, strict=True))
        lam = torch.linalg.solve(_gram(j), target.unsqueeze(-1)).squeeze(-1)
        trial = [a + step * (_times(lam, b) - a) for a, b in zip(e, j, strict=True)]
        found = _ascend(net, x, trial)
        better = _energy(trial, y - found[-1]) <= _energy(e, r) * (1 + 1e-14)
        step = torch.where(better, (2 * step).clamp(max=1.0), step / 2)
        e = [torch.where(better, a, b) for a, b in zip(trial, e, strict=True)]
        u, slopes, z, out = _ascend(net, x, e)
    return [*(a * d for a, d in zip(e, slopes, strict=True)), y - out], z, residual / scale


def _nearest(net, x, y, z, tolerance, iterations):
    """(m, z, residual): of the equilibria that the two searches end in, each sample's nearer to z."""
    sides = [v > 0 for v in _errors(net, x, z)[1]]
    kept = _kinked(net, x, y, z, tolerance, iterations, sides)
    free = _kinked(net, x, y, z, tolerance, iterations)

    def away(found):
        moved = sum((a - b).square().sum(1) for a, b in zip(found[1], z, strict=True))
        return torch.where(found[2] <= tolerance, moved, math.inf)

    nearer = (away(kept) <= away(free)) & (kept[2] <= tolerance)
    m, found, (left,) = (
        [torch.where(nearer.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(*pair, strict=True)]
        for pair in zip((*kept[:2], [kept[2]]), (*free[:2], [free[2]]), strict=True)
    )
    return m, found, float(left.norm())


def _kinked(net, x, y, z, tolerance, iterations, sides=None):
    """(m and λ, z, each sample's residual). Units with e > 0 keep to `sides`: an infinite residual if that is wrong."""
    e, u, slopes, out = _errors(net, x, z)
    m = _multipliers(net, e, u, [a * d for a, d in zip(e, slopes, strict=True)])
    lam, scale = y - out, float((y - network.forward(net, x)[-1]).norm())
    step, best, since = 1.0, math.inf, 0
    for iteration in range(iterations):
        sigma = [0.5 * step / (w * w).sum(1).clamp_min(1e-12) for w in net.weights[:-1]]
        on = [v > 0 for v in u] if sides is None else sides
        new, above = [], lam
        for l in range(len(m) - 1, -1, -1):
            e[l] = above @ net.weights[l + 1]
            above = _admissible(m[l], e[l], u[l], sigma[l], on[l])
            new.insert(0, above)
        u, _, z, out = _ascend(net, x, e)
        wrong = y - out - lam
        moved = sum((a - b).square().sum(1) for a, b in zip(new, m, strict=True)) / step**2
        m, left = new, (wrong.square().sum(1) + moved).sqrt() / scale
        residual = float(left.norm())
        if residual <= tolerance:
            break
        best, since = (residual, 0) if residual < 0.9 * best else (best, since + 1)
        if since > STALL:
            step, since = step / 2, 0
        if iteration % 10 == 0:
            share = [torch.where(b != 0, a / b, 0.0) for a, b in zip(m, e, strict=True)]  # φ′, at kinks in [0, 1]
            inverse = torch.linalg.inv(_gram(_jacobians(net, share)))
        lam = lam + step * (inverse @ wrong.unsqueeze(-1)).squeeze(-1)
    crossed = [((a > 0) & ((v > 0) != side)).any(1) for a, v, side in zip(e, u, on, strict=True)]
    return [*m, lam], z, torch.where(torch.stack(crossed).any(0), math.inf, left)


def distance(gradients, reference):
    """‖g − g*‖ / ‖g*‖ of all layers' weight gradients together."""
    pairs = [(g.to(torch.float64).cpu(), r.cpu()) for g, r in zip(gradients, reference, strict=True)]
    error = sum(float(((g - r) ** 2).sum()) for g, r in pairs)
    return math.sqrt(error / sum(float((r * r).sum()) for _, r in pairs))


def _layer(net, u):
    h = {"linear": lambda v: v, "tanh": torch.tanh, "relu": torch.relu}[net.activation](u)
    slope = {"linear": torch.ones_like, "tanh": lambda v: 1 - h * h, "relu": lambda v: (v > 0).double()}
    return h, slope[net.activation](u)


def _errors(net, x, z):
    u = [a @ w.t() for a, w in zip([x, *z], net.weights, strict=True)]
    h, slopes = zip(*(_layer(net, v) for v in u[:-1]), strict=True) if len(u) > 1 else ((), ())
    return [a - b for a, b in zip(z, h, strict=True)], u[:-1], list(slopes), u[-1]


def _ascend(net, x, e):
    z, u, slopes = [x], [], []
    for w, error in zip(net.weights[:-1], e, strict=True):
        u.append(z[-1] @ w.t())
        h, slope = _layer(net, u[-1])
        slopes.append(slope)
        z.append(h + error)
    return u, slopes, z[1:], z[-1] @ net.weights[-1].t()


def _admissible(m, e, u, sigma, on):
    """The multiplier between 0 and e: e where a unit is on, else 0; at e < 0 it moves until u = 0 or a bound holds."""
    between = torch.minimum(torch.maximum(m - sigma * u, e), torch.zeros_like(e))
    return torch.where(e < 0, between, e * on)


def _multipliers(net, e, u, m, sweeps=50):
    """Multipliers that explain the given errors best, e_{l−1} ≈ W_lᵀ m_l: those at kinks are not in the activities."""
    for l in range(1, len(e)):
        w = net.weights[l]
        step = 1.0 / float(torch.linalg.matrix_norm(w, 2)) ** 2
        loose = (e[l] < 0) & (u[l].abs() < 0.05 * u[l].std())
        for _ in range(sweeps):
            moved = m[l] + step * ((e[l - 1] - m[l] @ w) @ w.t())
            m[l] = torch.where(loose, torch.minimum(torch.maximum(moved, e[l]), torch.zeros_like(moved)), m[l])
    return m


def _jacobians(net, slopes):
    """J_l = ∂output/∂e_l, (B, n_L, n_l), l < L. A linear network has one for the whole batch."""
    j = [net.weights[-1].unsqueeze(0)]
    for w, d in zip(reversed(net.weights[1:-1]), reversed(slopes[1:]), strict=True):
        j.insert(0, (j[0] if net.activation == "linear" else j[0] * d.unsqueeze(1)) @ w)
    return j


def _gram(j):
    """S = I + Σ J_l J_lᵀ."""
    return torch.eye(j[0].shape[1], dtype=j[0].dtype, device=j[0].device) + sum(a @ a.mT for a in j)


def _times(a, j):
    """aᵀ J_l of each sample."""
    return (a.unsqueeze(1) @ j).squeeze(1)


def _energy(e, r):
    return 0.5 * sum(a.square().sum(1, keepdim=True) for a in [*e, r])
