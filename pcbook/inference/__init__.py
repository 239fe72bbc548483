"""Inference to equilibrium: `solve` finds the activities at which the energy is stationary. Torch."""

import torch

from pcbook import checks, network
from pcbook.inference import euler, exact, fixed_point
from pcbook.inference import newton as newton_method
from pcbook.inference.equilibrium import Equilibrium
from pcbook.inference.response import mean_field
from pcbook.inference.state import State

__all__ = ["KINKED", "LIMITS", "METHODS", "Equilibrium", "State", "solve"]

# Iterations unless the caller says otherwise. "auto" gives its last resort a limit of its own.
LIMITS = {"auto": 40, "exact": 1, "secant": 40, "kink": 200, "newton": 100, "descent": 200, "euler": 1000}
METHODS = tuple(LIMITS)
PROMPT = 3  # iterations after which "auto" measures the error of a smooth network's equilibrium
KINKED = 20.0  # residuals at kinks may be this many times rtol


def solve(net, x, y, method="auto", rtol=1e-3, max_iterations=None, warm=None):
    """The equilibrium of the activities for inputs x (B, n_0) and targets y (B, n_L), as an `Equilibrium`.

    Methods:
    - "exact": linear networks, in closed form, n_L rows wide;
    - "secant": smooth ones, a fixed point in the n_L output errors, one or two iterations as a rule;
    - "kink": the same for ReLU and leaky ReLU, with the multipliers of units that rest at their kink;
    - "newton": monotone Gauss–Newton in a trust region, any network, slower; it stalls at kinks;
    - "descent": the same with the exact Hessian;
    - "euler": the paper's (Eq. 2), η = 0.1 halved twice at most, `max_iterations` steps from the feedforward pass;
    - "auto": one of the first three by activation; samples that it leaves unconverged, or with more energy than the
      feedforward pass, are solved again by "descent" (at kinks: by a slower "kink"), and the better end is kept.

    Iterations stop when every sample's estimated relative error is below `rtol` (at kinks `KINKED` times as much), with
    a margin, so that the weight gradients of a batch are off by at most `rtol` (ten times as much at kinks). `warm` is
    an `Equilibrium` of a similar network, a training step ago: its linear response is used again.
    Raises `ValueError` for bad input, for a method that does not fit the activation, and for a network that overflows.
    """
    checks.choice("method", method, METHODS)
    kinked = _fits(method, net)
    tolerance = checks.scalar("rtol", rtol) * (KINKED if kinked else 1.0)
    limit = LIMITS[method] if max_iterations is None else checks.count("max_iterations", max_iterations)
    x, y = network.inputs(net, x), network.targets(net, y, x)
    if len(net.weights) == 1:
        return _without_hidden_layers(net, x, y, tolerance)
    if method == "exact" or (method == "auto" and net.activation == "linear"):
        return _linear(net, x, y, tolerance, _response(net, [None] * (len(net.weights) - 1), warm, fresh=True))
    start = network.sweep(net, x)
    _finite(start.output)

    def result(state, iterations, methods, answer=None):
        return Equilibrium(net, x, y, start.output, tolerance, iterations, lambda: state, None, methods, answer)

    if method == "euler":
        return result(euler.solve(net, x, y, limit), limit, (("euler", len(x)),))
    answer = _response(net, start.slopes, warm)
    first = {"auto": "kink" if kinked else "secant"}.get(method, method)
    state, iterations, done = _run(first, net, x, y, start, answer, tolerance, limit)
    methods = ((first, len(x)),)
    if method == "auto":
        found = state, iterations, done
        state, iterations, methods = _rescue(net, x, y, start, answer, tolerance, *found, methods)
    return result(state, iterations, methods, answer)


def _run(method, net, x, y, start, answer, tolerance, limit, **options):
    if limit == 0:
        errors = [torch.zeros_like(u) for u in start.preactivations]
        top = network.weigh_layer(net, -1, y - start.output)
        none = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        return State(start.inputs, errors, start.output, [*errors, top]), 0, none
    if method in ("newton", "descent"):
        return newton_method.solve(net, x, y, tolerance, limit, full=method == "descent")
    return fixed_point.solve(net, x, y, start, answer, tolerance, limit, **options)


def _rescue(net, x, y, start, answer, tolerance, state, iterations, done, methods):
    """Solve again the samples that are not done, or ended above the energy that they started from."""
    bound = network.quadratic(net, [*map(torch.zeros_like, start.preactivations), y - start.output])
    bound = bound * (1 + 64 * torch.finfo(x.dtype).eps) + torch.finfo(x.dtype).tiny
    energy = _energy(net, y, state)
    kinked = network.ACTIVATIONS[net.activation].kinked
    if iterations > PROMPT and not kinked:  # it was not easy, so its own estimates may be wrong
        done = newton_method.relative_step(net, x, y, state) <= tolerance
    good = done & (energy <= bound)
    for name, options in (("kink", {"patient": True}),) * kinked + (("descent", {}),):
        rows = (~good).nonzero().squeeze(1)
        if not len(rows):
            break
        part_x, part_y = x[rows], y[rows]
        limit = 300 if options else LIMITS["descent"]
        second, extra, finished = _run(
            name, net, part_x, part_y, network.sweep(net, part_x), answer, tolerance, limit, **options
        )
        iterations += extra
        reached = _energy(net, part_y, second)
        below = reached <= bound[rows]
        lower = ~(energy[rows] <= bound[rows]) | (reached < energy[rows])
        better = below & (finished | lower)
        state, energy, good = state.replace(rows[better], second.select(better)), energy.clone(), good.clone()
        energy[rows[better]] = reached[better]
        good[rows[better]] = finished[better]
        count = int(better.sum())
        methods = (*((old, n - count if i == 0 else n) for i, (old, n) in enumerate(methods)), (name, count))
    return state, iterations, methods


def _energy(net, y, state):
    return network.quadratic(net, [*state.errors, y - state.output])


def _linear(net, x, y, tolerance, answer):
    output, form, local = exact.solve(net, x, y, answer)
    _finite(output)
    return Equilibrium(net, x, y, output, tolerance, 1, form, local, (("exact", len(x)),), answer)


def _without_hidden_layers(net, x, y, tolerance):
    output = network.sweep(net, x).output
    _finite(output)
    state = State([x], [], output, [network.weigh_layer(net, -1, y - output)])
    return Equilibrium(net, x, y, output, tolerance, 0, lambda: state, None, (("exact", len(x)),))


def _response(net, slopes, warm, fresh=False):
    """The network's response, or the one that a warm start brings along."""
    if warm is not None and (not isinstance(warm, Equilibrium) or warm.net.sizes != net.sizes):
        kind = f"an Equilibrium of sizes {warm.net.sizes}" if isinstance(warm, Equilibrium) else type(warm).__name__
        raise ValueError(f"warm is {kind}: must be an Equilibrium of a network of sizes {net.sizes}")
    if warm is None or warm.response is None or fresh:
        return mean_field(net, slopes)
    return warm.response


def _fits(method, net):
    """Whether the activation is kinked; `ValueError` where the method is not made for it."""
    if not isinstance(net, network.PCN):
        raise ValueError(f"net is a {type(net).__name__}: must be a PCN")
    kinked = network.ACTIVATIONS[net.activation].kinked
    made_for = {"exact": net.activation == "linear", "secant": not kinked, "kink": kinked}
    if not made_for.get(method, True):
        need = {"exact": "linear", "secant": "smooth", "kink": "ReLU or leaky ReLU"}[method]
        raise ValueError(f"method = {method!r}: needs a {need} activation, and the network's is {net.activation!r}")
    return kinked


def _finite(output):
    if not bool(torch.isfinite(output).all()):
        raise ValueError("the feedforward pass overflows: the weights are too large, or not finite")
