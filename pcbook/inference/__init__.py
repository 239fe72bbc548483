"""Inference to equilibrium: `solve` finds the activities at which the energy is stationary. Torch."""

import torch
from torch import Tensor

from pcbook import checks, network
from pcbook.inference import euler, exact, fixed_point, kink, kinked
from pcbook.inference import newton as newton_method
from pcbook.inference.equilibrium import Equilibrium, Methods
from pcbook.inference.response import Response, mean_field
from pcbook.inference.state import State

__all__ = ["KINKED", "LIMITS", "METHODS", "Equilibrium", "State", "solve"]

# Iterations unless the caller says otherwise. "auto" gives its last resort a limit of its own.
LIMITS = {
    "auto": 40,
    "exact": 1,
    "secant": 40,
    "kink": 200,
    "newton": 100,
    "descent": 200,
    "lagrangian": 600,
    "euler": 1000,
}
METHODS = tuple(LIMITS)
PROMPT = 3  # iterations after which "auto" measures the error of a smooth network's equilibrium
FEW, SMALL = 8, 6000  # samples, and their hidden units together, that "auto" treats with care at kinks
AFFORDABLE = 2_000_000  # numbers in the Hessian blocks of the samples that "auto" still rescues at kinks
KINKED = 20.0  # residuals at kinks may be this many times rtol
STALE = 0.05  # of the tolerance: how far the output weights may have moved since a response was made, to use it again


def solve(
    net: network.PCN,
    x: Tensor,
    y: Tensor,
    method: str = "auto",
    rtol: float = 1e-3,
    max_iterations: int | None = None,
    warm: Equilibrium | None = None,
) -> Equilibrium:
    """The equilibrium of the activities for inputs x (B, n_0) and targets y (B, n_L), as an `Equilibrium`.

    Methods:
    - "exact": linear networks, in closed form, n_L rows wide;
    - "secant": smooth ones, a fixed point in the n_L output errors, one or two iterations as a rule;
    - "kink": the same for ReLU and leaky ReLU, with the multipliers of units that rest at their kink;
    - "newton": monotone Gauss–Newton in a trust region, any network, slower; it stalls at kinks;
    - "descent": the same with the exact Hessian;
    - "lagrangian": for ReLU and leaky ReLU, careful and slow: some of the paper's steps choose the basin, an augmented
      Lagrangian ends at its bottom; small networks;
    - "euler": the paper's (Eq. 2), η = 0.1 halved twice at most, `max_iterations` steps from the feedforward pass;
    - "auto": one of the first three by activation; samples that it leaves unconverged, or with more energy than the
      feedforward pass, are solved again by "descent" or "lagrangian", and the better end is kept. At kinks a few
      samples of a small network go to "lagrangian" at once, which of several equilibria finds, as a rule, the one
      that Euler's steps lead to. The fast "kink" may end in another one, with more energy.

    Iterations stop when every sample's estimated relative error is below `rtol` (at kinks `KINKED` times as much), with
    a margin, so that the weight gradients of a batch are off by at most `rtol` (ten times as much at kinks). `warm` is
    an `Equilibrium` of a similar network, a training step ago: its linear response is used again unless it is stale.
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
        return _linear(net, x, y, tolerance, _response(net, None, warm, 0.0))
    start = fixed_point.up(net, x)
    rest = y - start.output
    network.in_range("the feedforward pass", (rest * network.weigh_layer(net, -1, rest)).sum(1))  # energies only fall

    def result(state: State, iterations: int, methods: Methods, answer: Response | None = None) -> Equilibrium:
        return Equilibrium(net, x, y, start.output, tolerance, iterations, lambda: state, None, methods, answer)

    if method == "euler":
        return result(euler.solve(net, x, y, limit), limit, (("euler", len(x)),))
    answer = _response(net, start, warm, tolerance)
    first = method if method != "auto" else "secant" if not kinked else "kink"
    if method == "auto" and kinked and len(x) <= FEW and len(x) * sum(net.sizes[1:-1]) <= SMALL:
        first, limit = "lagrangian", LIMITS["lagrangian"] if max_iterations is None else limit
    state, iterations, done = _run(first, net, x, y, start, answer, tolerance, limit)
    methods: Methods = ((first, len(x)),)
    if method == "auto":
        found = state, iterations, done
        state, iterations, methods = _rescue(net, x, y, start, tolerance, *found, methods)
    slower = warm is not None and answer is warm.response and iterations > warm.iterations
    return result(state, iterations, methods, None if slower else answer)


def _run(
    method: str,
    net: network.PCN,
    x: Tensor,
    y: Tensor,
    start: fixed_point.Pass | None,
    answer: Response | None,
    tolerance: float,
    limit: int,
) -> tuple[State, int, Tensor]:
    if limit == 0:
        assert start is not None  # only `_rescue` leaves it out, and never without iterations
        errors = [torch.zeros_like(z) for z in start.inputs[1:]]
        top = network.weigh_layer(net, -1, y - start.output)
        none = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        return State(start.inputs, errors, start.output, [*errors, top]), 0, none
    if method in ("newton", "descent"):
        return newton_method.solve(net, x, y, tolerance, limit, full=method == "descent")
    if method == "lagrangian":
        return kinked.solve(net, x, y, tolerance, limit, patient=start is not None)
    rest = kink if network.ACTIVATIONS[net.activation].kinked else fixed_point
    return rest.solve(net, x, y, start, answer, tolerance, limit)


def _rescue(
    net: network.PCN,
    x: Tensor,
    y: Tensor,
    start: fixed_point.Pass,
    tolerance: float,
    state: State,
    iterations: int,
    done: Tensor,
    methods: Methods,
) -> tuple[State, int, Methods]:
    """Solve again the samples that are not done, or ended above the energy that they started from."""
    eps, first = torch.finfo(x.dtype).eps, (y - start.output).double()
    bound = 0.5 * (first * network.weigh_layer(net, -1, first)).sum(1) * (1 + 64 * eps) + torch.finfo(x.dtype).tiny
    energy = network.quadratic(net, [*state.errors, y - state.output], x.dtype).double()
    if not bool((energy <= 0.99 * bound).all()):  # close: float64 decides
        energy = network.quadratic(net, [*state.errors, y - state.output])
    careful = "lagrangian" if network.ACTIVATIONS[net.activation].kinked else "descent"
    if iterations > PROMPT and careful == "descent":  # it was not easy, so its own estimates may be wrong
        done = newton_method.relative_step(net, x, y, state) <= tolerance
    rows = (~(done & (energy <= bound))).nonzero().squeeze(1)
    if not len(rows) or (careful == "lagrangian" and len(rows) * sum(n * n for n in net.sizes[1:-1]) > AFFORDABLE):
        return state, iterations, methods
    second, extra, finished = _run(careful, net, x[rows], y[rows], None, None, tolerance, LIMITS[careful])
    reached = network.quadratic(net, [*second.errors, y[rows] - second.output])
    lower = ~(energy[rows] <= bound[rows]) | (reached < energy[rows])
    better = (reached <= bound[rows]) & (finished | lower)
    count = int(better.sum())
    methods = ((methods[0][0], len(x) - count), (careful, count))
    return state.replace(rows[better], second.select(better)), iterations + extra, methods


def _linear(net: network.PCN, x: Tensor, y: Tensor, tolerance: float, answer: Response) -> Equilibrium:
    output, form, local = exact.solve(net, x, y, answer)
    network.in_range("the feedforward pass", output)
    return Equilibrium(net, x, y, output, tolerance, 1, form, local, (("exact", len(x)),), answer)


def _without_hidden_layers(net: network.PCN, x: Tensor, y: Tensor, tolerance: float) -> Equilibrium:
    output = network.forward(net, x)[-1]
    state = State([x], [], output, [network.weigh_layer(net, -1, y - output)])
    return Equilibrium(net, x, y, output, tolerance, 0, lambda: state, None, (("exact", len(x)),))


def _response(net: network.PCN, start: fixed_point.Pass | None, warm: Equilibrium | None, tolerance: float) -> Response:
    """The network's response, or the one that a warm start brings along, unless it is stale.

    J of the last hidden layer is W_L as it was: how far W_L has moved since then is known without any product. One
    more iteration costs several times a new response, so an old one has to be good enough for the tolerance.
    """
    if warm is not None and (not isinstance(warm, Equilibrium) or warm.net.sizes != net.sizes):
        kind = f"an Equilibrium of sizes {warm.net.sizes}" if isinstance(warm, Equilibrium) else type(warm).__name__
        raise ValueError(f"warm is {kind}: must be an Equilibrium of a network of sizes {net.sizes}")
    if warm is not None and warm.response is not None and tolerance > 0:
        top, old = net.weights[-1], warm.response.adjoint[..., -net.sizes[-2] :]
        if float((top - old).norm()) <= STALE * tolerance * float(top.norm()):
            return warm.response
    return mean_field(net, start and fixed_point.mean_slopes(net, start))


def _fits(method: str, net: network.PCN) -> bool:
    """Whether the activation is kinked; `ValueError` where the method is not made for it."""
    if not isinstance(net, network.PCN):
        raise ValueError(f"net is a {type(net).__name__}: must be a PCN")
    kinked = network.ACTIVATIONS[net.activation].kinked
    made_for = {"exact": net.activation == "linear", "secant": not kinked, "kink": kinked, "lagrangian": kinked}
    if not made_for.get(method, True):
        need = {"exact": "linear", "secant": "smooth", "kink": "ReLU or leaky ReLU"}.get(method, "ReLU or leaky ReLU")
        raise ValueError(f"method = {method!r}: needs a {need} activation, and the network's is {net.activation!r}")
    return kinked
