"""Deep chains f(x) = w_{L+1} φ(w_L … φ(w_1 x)): one unit a layer (Section 5.1, Appendix A.4), many runs at once. NumPy.

A chain with L hidden layers has L + 1 weights; the last is the linear read-out. With z_0 = x, for l = 1 … L

    u_l = w_l z_{l−1},    e_l = z_l − φ(u_l),    λ = y − w_{L+1} z_L,    F = ½ Σ_l e_l² + ½ λ².

Weights are (runs, L + 1), batches (runs, B). The loss ½ (y − f(x))² and the energy are averages over the batch, and so
are their gradients. Inside, weights are (L + 1, runs) and samples (B, runs), so that NumPy runs along the runs.
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pcbook import checks

ALGORITHMS = ("BP", "PC", "Euler")
ACTIVATIONS = ("linear", "tanh", "relu")
DIVERGED = 1e3  # a loss beyond this counts as infinite: the first ones are about 1
SPAN = 25  # updates between two looks at the losses
EXACT, ENOUGH = 1e-10, 1e-6  # ‖∂F/∂z‖ / √(2F) at tanh equilibria: of `gradient`, and in training
EASY, HARD = 6, 200  # Newton steps that all runs share, and guarded ones for those that need more
TINY = np.finfo(float).tiny
NODES = 8  # samples that stand in for a batch in tanh chains


def loss(weights: ArrayLike, x: ArrayLike, y: ArrayLike, activation: str = "linear") -> np.ndarray:
    """½ mean_b (y − f(x))² of each run, (runs,), float64.

    >>> loss([[1.0, 1.0]], [[1.0, 2.0]], [[-1.0, -2.0]])
    array([5.])
    """
    w, x, y = _checked(weights, x, y, activation)
    with checks.in_range(weights=w, x=x, y=y):
        return _half_square(y - _up(w, x, activation)[2], 1 / len(x))


def gradient(
    algorithm: str, weights: ArrayLike, x: ArrayLike, y: ArrayLike, activation: str = "linear", steps: int = 500
) -> np.ndarray:
    """The gradient that `algorithm` descends, (runs, L + 1), float64.

    "BP": of the loss. "PC": ∂F/∂w (Eq. 3) at the equilibrium of the activities. "Euler": ∂F/∂w after the paper's
    inference, `steps` Euler steps from the feedforward pass, whose step size 0.1 is halved, twice at most, when the
    batch's energy does not fall. Raises `ValueError` for shapes that do not fit and values that are not finite.
    """
    checks.choice("algorithm", algorithm, ALGORITHMS)
    w, x, y = _checked(weights, x, y, activation)
    steps = checks.count("steps", steps)
    with checks.in_range(weights=w, x=x, y=y):
        return _step(algorithm, w, x, y, 1 / len(x), activation, EXACT, steps)[1].T


def stand_ins(x: np.ndarray, activation: str = "linear") -> tuple[np.ndarray, np.ndarray]:
    """Few samples and their weights, both (…, n), that do what the batch x (…, B) does, for targets y = m x.

    Linear and ReLU chains are positively homogeneous, f(ax) = a f(x) for a > 0, and so are their activities at the
    equilibrium and after Euler steps. Loss, energy and gradients of a sample grow like x². So only mean(x²) matters:
    one sample has it all for linear chains; ReLU needs one for each sign of x. For tanh all these are smooth functions
    of x. The batch gives way to its Gauss rule: `NODES` points with the same first 2 · `NODES` moments, as good as the
    batch for smooth functions, and exact for polynomials of lower degree.

    >>> stand_ins(np.array([3.0, -4.0, 0.0, 0.0]), "relu")[0]
    array([ 2.12132034, -2.82842712])
    """
    if checks.choice("activation", activation, ACTIVATIONS) == "tanh":
        return _gauss_rule(x, NODES)
    squares = x * x
    if activation == "linear":
        samples = np.sqrt(squares.mean(axis=-1, keepdims=True))
    else:
        halves = [sign * np.sqrt(2 * np.where(sign * x > 0, squares, 0.0).mean(axis=-1)) for sign in (1, -1)]
        samples = np.stack(halves, axis=-1)
    return samples, np.full_like(samples, 1 / samples.shape[-1])


def _gauss_rule(x: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights (…, n) of the Gauss rule of the mean over the last axis of x: Lanczos, Golub and Welsch.

    Of fewer than n different values the rule is the batch itself, and the weights of what is left over are 0.
    """
    basis = np.zeros((n + 1, *x.shape))
    basis[0] = x.shape[-1] ** -0.5
    matrix = np.zeros((*x.shape[:-1], n, n))
    for k in range(n):
        new = x * basis[k]
        overlap = np.einsum("j...b,...b->j...", basis[: k + 1], new)
        new -= np.einsum("j...,j...b->...b", overlap, basis[: k + 1])
        size = np.sqrt(np.einsum("...b,...b->...", new, new))
        size = np.where(size > 1e-12 * np.abs(x).max(axis=-1), size, 0.0)
        np.divide(new, size[..., None], out=basis[k + 1], where=size[..., None] > 0)
        matrix[..., k, k] = overlap[k]
        if k + 1 < n:
            matrix[..., k + 1, k] = size
    nodes, vectors = np.linalg.eigh(matrix)
    return nodes, vectors[..., 0, :] ** 2


@dataclass(frozen=True, eq=False)
class History:
    """What happened to each run, arrays (rates, seeds). A step counts the updates before it; −1 stands for never."""

    hit: np.ndarray  # first step whose batch has a loss below the threshold
    half: np.ndarray  # first step whose batch has at most half of the first batch's loss
    plateau: np.ndarray  # last step of the first `every` batches whose mean loss is not below the mean before
    diverged: np.ndarray  # first step with an infinite loss
    stop: np.ndarray  # where the paper stops: at the first of these but half, or at the cap
    stop_train: np.ndarray  # the batch's loss there; infinite where it diverged
    stop_test: np.ndarray  # loss on the test set there
    end_train: np.ndarray  # the same without the plateau rule
    end_test: np.ndarray
    marks: np.ndarray  # (m,) steps at which the curves are known
    train_curve: np.ndarray  # (m, rates, seeds), held at the last value once a run has ended
    test_curve: np.ndarray
    unsolved: int  # PC: batches of tanh runs whose equilibrium was not found to `ENOUGH`

    def stopped_curve(self, which: str = "train") -> np.ndarray:
        """The curve under the paper's rules: held from `stop` on."""
        curve, last = getattr(self, f"{which}_curve"), getattr(self, f"stop_{which}")
        return np.where(self.marks[:, None, None] >= self.stop, last, curve)


def train(
    algorithm: str,
    weights: ArrayLike,
    batches: Iterable[np.ndarray | tuple[np.ndarray, np.ndarray]],
    learning_rates: ArrayLike,
    activation: str = "linear",
    slope: float = -1.0,
    *,
    steps: int | Sequence[int] | np.ndarray,
    test: ArrayLike,
    marks: Iterable[int] = (0,),
    threshold: float = 0.01,
    every: int = 500,
    inference_steps: int = 500,
) -> History:
    """`History` of SGD from the initial `weights` (seeds, L + 1), at every learning rate (rates,), for y = slope · x.

    `batches` yields inputs x (n, seeds, B), or their `stand_ins`, n steps at a time; every rate sees the same ones.
    `steps` is a cap, or one for each rate; it, `every` and n are multiples of `SPAN`. `test` holds test inputs
    (seeds, B′). A run goes on until its batch's loss is below `threshold`, it diverges, or the steps are over; where
    the plateau rule would have stopped it is noted. `marks` are the steps at which losses are kept.

    Runs that have ended leave the others. All of it is float64.
    """
    checks.choice("algorithm", algorithm, ALGORITHMS), checks.choice("activation", activation, ACTIVATIONS)
    weights, rates = checks.array("weights", weights), checks.positive("learning_rates", learning_rates)
    if weights.ndim != 2 or weights.shape[1] < 2 or rates.ndim != 1:
        raise ValueError(f"weights {weights.shape}, learning_rates {rates.shape}: must be (seeds, L + 1) and (rates,)")
    steps = np.broadcast_to([checks.count("steps", n) for n in np.atleast_1d(steps)], rates.shape)
    if not steps.all() or (steps % SPAN).any() or checks.count("every", every) == 0 or every % SPAN:
        raise ValueError(f"steps = {steps.tolist()}, every = {every}: must be multiples of {SPAN}, and not 0")
    log = _Log(weights, rates, steps, every, threshold, np.asarray(sorted(set(marks))))
    runs, begun = _Runs(weights, rates), 0
    settings = algorithm, activation, float(slope), inference_steps
    test = [part.T for part in stand_ins(checks.array("test", test), activation)]
    with np.errstate(all="ignore"):
        for batch in batches:
            x, share = (v.swapaxes(1, 2) for v in (batch if isinstance(batch, tuple) else stand_ins(batch, activation)))
            for k in range(0, len(x) if len(runs.rate) else 0, SPAN):
                path, losses, unsolved = runs.descend(x[k : k + SPAN], share[k : k + SPAN], *settings)
                keep = log.note(begun + k, runs, path, losses, unsolved)
                runs = runs if keep.all() else runs.select(keep)
            begun += len(x)
            if not len(runs.rate):
                break
        return log.history(
            lambda w, seed: _test_loss(w, *(v[:, seed] for v in test), activation, slope),  # type: ignore[call-arg, arg-type]  # two
            runs,
        )


class _Runs:
    """The runs still under way: their weights (L + 1, R), rates, seeds, and places in the results."""

    def __init__(self, weights: np.ndarray, rates: np.ndarray) -> None:
        seeds = len(weights)
        self.w = np.tile(weights.T, (1, len(rates)))
        self.rate, self.seed = np.repeat(rates, seeds), np.tile(np.arange(seeds), len(rates))
        self.place = np.arange(seeds * len(rates))

    def select(self, keep: np.ndarray) -> "_Runs":
        """Go on with some of them."""
        self.w, self.rate, self.seed, self.place = self.w[:, keep], self.rate[keep], self.seed[keep], self.place[keep]
        return self

    def descend(
        self, x: np.ndarray, share: np.ndarray, algorithm: str, activation: str, slope: float, inference_steps: int
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """n updates: weights of the chains (n, L + 1, R) and losses (n, R) before each, from (n, B, seeds) samples.

        Runs go in groups that fit in the processor's cache.
        """
        path, losses = np.empty((len(x), *self.w.shape)), np.empty((len(x), self.w.shape[1]))
        width, unsolved = max(16, 2**15 // (x.shape[1] * len(self.w))), 0
        for start in range(0, self.w.shape[1], width):
            part = slice(start, start + width)
            w, rate, seed = self.w[:, part].copy(), self.rate[part], self.seed[part]
            for k, (samples, weight) in enumerate(zip(x, share, strict=True)):
                samples, path[k, :, part] = samples[:, seed], w
                losses[k, part], g, missed = _step(
                    algorithm, w, samples, slope * samples, weight[:, seed], activation, ENOUGH, inference_steps
                )
                w -= rate * g
                unsolved += missed
            self.w[:, part] = w
        return path, losses, unsolved


class _Log:
    """Notes what happens to the runs, and says which go on."""

    def __init__(
        self, weights: np.ndarray, rates: np.ndarray, steps: np.ndarray, every: int, threshold: float, marks: np.ndarray
    ) -> None:
        self.shape, n, size = (len(rates), len(weights)), len(rates) * len(weights), weights.shape[1]
        self.every, self.threshold, self.marks, self.unsolved = every, threshold, marks, 0
        self.steps = np.repeat(steps, len(weights))
        self.hit, self.half, self.plateau, self.diverged, self.end = (np.full(n, -1) for _ in range(5))
        self.first, self.total, self.before = np.zeros(n), np.zeros(n), np.full(n, np.inf)
        self.loss = {name: np.full(n, np.inf) for name in ("stop", "end")}
        self.last = {name: np.full((n, size), np.nan) for name in ("stop", "end")}
        self.curve, self.weights = np.full((len(marks), n), np.nan), np.full((len(marks), n, size), np.nan)

    def note(self, begun: int, runs: _Runs, path: np.ndarray, losses: np.ndarray, unsolved: int) -> np.ndarray:
        """Take in the losses (n, R) of the steps from `begun` on; returns which of the runs go on, (R,)."""
        place, self.unsolved = runs.place, self.unsolved + unsolved
        if begun == 0:
            self.first[place] = losses[0]
        bad, good = ~(losses < DIVERGED), losses < self.threshold
        ended = bad | good
        over = ended.any(axis=0)
        row = np.where(over, ended.argmax(axis=0), len(losses) - 1)
        column = np.arange(len(place))
        alive = np.arange(len(losses))[:, None] <= row
        self._first(self.half, place, (losses <= 0.5 * self.first[place]) & alive, begun)
        for name, events in (("hit", good), ("diverged", bad)):
            self._first(getattr(self, name), place, events & ended & (np.arange(len(losses))[:, None] == row), begun)
        for m in np.flatnonzero((self.marks >= begun) & (self.marks < begun + len(losses))):
            live = alive[self.marks[m] - begun]
            self.curve[m, place[live]] = losses[self.marks[m] - begun, live]
            self.weights[m, place[live]] = path[self.marks[m] - begun][:, live].T
        self.total[place] += losses.sum(axis=0)
        finish = begun + len(losses)
        if finish % self.every == 0:
            fired = ~over & (self.plateau[place] < 0) & ~(self.total[place] < self.before[place])
            self.plateau[place[fired]] = finish - 1
            self._keep("stop", place[fired], losses[-1, fired], path[-1][:, fired])
            self.before[place], self.total[place] = self.total[place], 0.0
        done = over | (finish >= self.steps[place])
        self.end[place[done]] = begun + row[done]
        self._keep("end", place[done], losses[row, column][done], path[row, :, column][done].T)
        return ~done

    def _first(self, target: np.ndarray, place: np.ndarray, events: np.ndarray, begun: int) -> None:
        new = events.any(axis=0) & (target[place] < 0)
        target[place[new]] = begun + events.argmax(axis=0)[new]

    def _keep(self, name: str, place: np.ndarray, value: np.ndarray, w: np.ndarray) -> None:
        self.loss[name][place] = np.where(value < DIVERGED, value, np.inf)
        self.last[name][place] = w.T

    def history(self, test_loss: Callable[[np.ndarray, np.ndarray], np.ndarray], runs: _Runs) -> History:
        """The `History`, with losses on the test set from the weights that were kept."""
        if len(runs.place):
            raise ValueError(f"batches: ended before step {self.steps.max()}")
        seed = np.tile(np.arange(self.shape[1]), self.shape[0])
        early = self.plateau >= 0
        for kept in (self.loss, self.last):
            kept["stop"] = np.where(early if kept["end"].ndim == 1 else early[:, None], kept["stop"], kept["end"])
        test = {name: test_loss(w, seed) for name, w in self.last.items()}
        late = self.marks[:, None] > self.end
        train_curve = np.where(late, self.loss["end"], self.curve)
        test_curve = np.where(late, test["end"], np.stack([test_loss(w, seed) for w in self.weights]))
        shaped = [self.hit, self.half, self.plateau, self.diverged, np.where(early, self.plateau, self.end)]
        shaped += [self.loss["stop"], test["stop"], self.loss["end"], test["end"]]
        curves = (c.reshape(-1, *self.shape) for c in (train_curve, test_curve))
        return History(*(a.reshape(self.shape) for a in shaped), self.marks, *curves, self.unsolved)  # type: ignore[call-arg, arg-type]  # fourteen


def _test_loss(w: np.ndarray, x: np.ndarray, share: np.ndarray, activation: str, slope: float) -> np.ndarray:
    """The loss of weights (R, L + 1) on samples (n, R); infinite where it is beyond `DIVERGED` or NaN."""
    value = _half_square(slope * x - _up(w.T, x, activation)[2], share)
    return np.where(value < DIVERGED, value, np.inf)


# One step: w (L + 1, R), x, y and the samples' weights (B, R).


def _step(
    algorithm: str,
    w: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    share: np.ndarray | float,
    activation: str,
    tolerance: float,
    inference_steps: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """The loss (R,), the gradient (L + 1, R), and for how many runs the equilibrium was not found."""
    z: Iterable[np.ndarray]
    slopes: Iterable[np.ndarray | None]
    mu: Iterable[np.ndarray]
    z, slopes, out = _up(w, x, activation)
    r, missed = y - out, 0
    if algorithm == "BP":
        mu, top = _down(w, slopes, r), r
    elif algorithm == "Euler":
        z, slopes, mu, top = _euler(w, x, y, share, z, activation, inference_steps)
    else:
        z, slopes, mu, top, missed = _equilibrium(w, x, y, z, slopes, r, activation, tolerance)
    deltas = [*(_times(m, s) for m, s in zip(mu, slopes, strict=True)), top]
    g = np.stack([(share * d * a).sum(axis=0) for d, a in zip(deltas, z, strict=True)])
    return _half_square(r, share), -g, missed


def _half_square(r: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    return 0.5 * (share * r * r).sum(axis=0)


def _up(
    w: np.ndarray, x: np.ndarray, activation: str, errors: Sequence[np.ndarray] | None = None
) -> tuple[list[np.ndarray], list[np.ndarray | None], np.ndarray]:
    """[z_0 … z_L], [φ′(u_1) … φ′(u_L)] and the output, with z_l = φ(u_l) + e_l; the errors are 0 unless given."""
    z, slopes = [x], []
    for l, weight in enumerate(w[:-1]):
        h, s = _phi(weight * z[-1], activation)
        z.append(h if errors is None else h + errors[l])
        slopes.append(s)
    return z, slopes, w[-1] * z[-1]


def _phi(u: np.ndarray, activation: str) -> tuple[np.ndarray, np.ndarray | None]:
    """φ(u) and φ′(u), where None stands for 1. At its kink ReLU's slope is 0, as it is in torch."""
    if activation == "linear":
        return u, None
    if activation == "tanh":
        h = np.tanh(u)
        return h, 1 - h * h
    alive = u > 0
    return u * alive, alive


def _down(w: np.ndarray, slopes: Sequence[np.ndarray | None], top: np.ndarray) -> list[np.ndarray]:
    """[μ_1 … μ_L]: μ_L = w_{L+1} · top and μ_{l−1} = w_l φ′(u_l) μ_l. With top = 1, the Jacobian J of the output."""
    mu = [w[-1] * top]
    for weight, s in zip(w[-2:0:-1], slopes[:0:-1], strict=True):
        mu.append(weight * _times(mu[-1], s))
    return mu[::-1]


def _times(a: np.ndarray, slope: np.ndarray | None) -> np.ndarray:
    return a if slope is None else a * slope


def _equilibrium(
    w: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    z: list[np.ndarray],
    slopes: list[np.ndarray | None],
    r: np.ndarray,
    activation: str,
    tolerance: float,
) -> tuple[Iterable[np.ndarray], Iterable[np.ndarray | None], Iterable[np.ndarray], np.ndarray, int]:
    """z, φ′(u), e and λ at the equilibrium of every sample, from the feedforward pass; how many runs lack it.

    A Gauss–Newton step leads to the equilibrium of the linearised chain, e = J λ with λ = r / (1 + Σ J²). Linear chains
    are there. So are ReLU chains, but for a kink: see `_kinks`. For tanh it is the first of a few.
    """
    jacobian = _down(w, slopes, np.ones_like(x))
    lam = r / (1 + sum(j * j for j in jacobian))
    errors = [j * lam for j in jacobian]
    if activation == "tanh":
        return _iterate(w, x, y, r, errors, tolerance)
    forward, (z, _, _) = z, _up(w, x, activation, errors)
    if activation == "relu" and len(errors) > 1:
        return *_kinks(w, y, forward, z, slopes, jacobian, errors, lam), 0
    return z, slopes, errors, lam, 0


def _kinks(
    w: np.ndarray,
    y: np.ndarray,
    forward: list[np.ndarray],
    z: list[np.ndarray],
    slopes: Sequence[Any],  # here no slope is None
    jacobian: list[np.ndarray],
    errors: list[np.ndarray],
    lam: np.ndarray,
) -> tuple[list[np.ndarray], Sequence[Any], list[np.ndarray], np.ndarray]:
    """The equilibrium of ReLU chains whose read-out has the wrong sign: u_L may rest at its kink.

    Then w_{L+1} y < 0, and the target pulls every activity down. While z_{L−1} > 0 the chain is linear. Otherwise
    z_{L−1} = 0, and the chain falls into two linear ones: from x to the target 0 for z_{L−1}, and from 0 to y.
    No other unit rests at its kink, since nothing above it would hold it there. Where the feedforward pass dies, the
    layers above it are not reached (their slope is 0), and z_L alone moves: the linearised chain says so too.
    """
    low = slopes[-1] & (z[-2] <= 0)
    if not low.any():
        return z, slopes, errors, lam
    below = sum(j * j for j in jacobian[:-1])
    pull = np.where(low, -forward[-2] * jacobian[-2] / np.where(low, below, 1.0), lam)
    top = np.where(low, y / (1 + w[-1] ** 2), lam)
    errors = [*(j * pull for j in jacobian[:-1]), w[-1] * top]
    return _up(w, z[0], "relu", errors)[0], slopes, errors, top


def _iterate(
    w: np.ndarray, x: np.ndarray, y: np.ndarray, r: np.ndarray, errors: list[np.ndarray], tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Newton steps for tanh from given errors, for the runs that still need them; the hard ones go on guarded.

    A sample is done when its gradient is small and its energy no higher than at the feedforward pass.
    """
    z, bound = np.stack(_up(w, x, "tanh", errors)[0]), 0.5 * r * r
    look, live, missed = _look(w, y, z), np.arange(w.shape[1]), 0
    for k in range(EASY + 1):
        more = ~((look.residual <= tolerance) & (look.energy <= bound[:, live])).all(axis=0)
        live = live[more]
        if k == EASY or not len(live):
            break
        z[1:, :, live] += _newton_step(w[:, live], _Look(*(part[..., more] for part in look)))[0]
        look = _look(w[:, live], y[:, live], z[:, :, live])
    if len(live):
        z[:, :, live], missed = _guarded(w[:, live], x[:, live], y[:, live], tolerance)
    look = _look(w, y, z) if k else look
    return z, look.slopes, look.errors, look.lam, missed


_Look = namedtuple("_Look", "h slopes errors lam deltas gradient energy residual")


def _look(w: np.ndarray, y: np.ndarray, z: np.ndarray) -> _Look:
    """Tanh chains at given activities: φ(u), φ′(u), e, λ, δ_2 … δ_{L+1}, ∂F/∂z, F, and ‖∂F/∂z‖ / √(2F), F > y²/1000."""
    h = np.tanh(w[:-1, None] * z[:-1])
    slopes, errors, lam = 1 - h * h, z[1:] - h, y - w[-1] * z[-1]
    deltas = np.concatenate([errors[1:] * slopes[1:], lam[None]])
    gradient = errors - w[1:, None] * deltas
    twice = lam * lam + (errors * errors).sum(axis=0)
    residual = np.sqrt((gradient * gradient).sum(axis=0) / (twice + 2e-3 * y * y + TINY))
    return _Look(h, slopes, errors, lam, deltas, gradient, 0.5 * twice, residual)


def _newton_step(w: np.ndarray, look: _Look, damping: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """−(H + damping)⁻¹ ∂F/∂z, and where H + damping is positive definite. H is tridiagonal: eliminated upwards."""
    above = w[1:, None]
    diagonal = 1 + damping + above[-1] ** 2 * np.ones_like(look.errors)
    diagonal[:-1] += above[:-1] ** 2 * (look.slopes[1:] ** 2 + 2 * look.h[1:] * look.deltas[:-1]) - above[-1] ** 2
    link = -above[:-1] * look.slopes[1:]
    step = -look.gradient
    for l in range(1, len(step)):
        factor = link[l - 1] / diagonal[l - 1]
        diagonal[l] -= factor * link[l - 1]
        step[l] -= factor * step[l - 1]
    step[-1] /= diagonal[-1]
    for l in range(len(step) - 2, -1, -1):
        step[l] = (step[l] - link[l] * step[l + 1]) / diagonal[l]
    return step, (diagonal > 0).all(axis=0)


def _guarded(w: np.ndarray, x: np.ndarray, y: np.ndarray, tolerance: float) -> tuple[np.ndarray, int]:
    """The same by implicit Euler steps of the gradient flow, (H + 1/τ) Δz = −∂F/∂z, from the feedforward pass.

    A step is taken where it lowers the energy, and τ grows: the steps turn into Newton's. Returns how many runs fail.
    """
    z, time = np.stack(_up(w, x, "tanh")[0]), np.ones_like(x)
    look = _look(w, y, z)
    for _ in range(HARD):
        open_ = look.residual > tolerance
        if not open_.any():
            break
        step, convex = _newton_step(w, look, 1 / time)
        trial = z.copy()
        trial[1:] += step
        ahead = _look(w, y, trial)
        good = convex & open_ & (ahead.energy <= look.energy * (1 + 1e-14))
        z = np.where(good, trial, z)
        time = np.where(good, 5 * time, time / 5)
        look = _look(w, y, z)
    return z, int((~(look.residual <= tolerance)).any(axis=0).sum())


def _euler(
    w: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    share: np.ndarray | float,
    z: Any,  # a sequence, then one array
    activation: str,
    steps: int,
    size: float | np.ndarray = 0.1,
    halvings: int = 2,
) -> tuple[np.ndarray, Iterable[np.ndarray | None], np.ndarray, np.ndarray]:
    """z, φ′(u), e and λ after z ← z − η ∂F/∂z, all layers at once, from the feedforward z_0 … z_L."""
    z = np.stack(z)
    below, above, read = w[:-1, None], w[1:, None], w[-1]
    size, left = np.full(w.shape[1], size), np.full(w.shape[1], halvings)
    last = np.full(w.shape[1], np.inf)
    for step in range(steps + 1):
        h, slopes = _phi(below * z[:-1], activation)
        errors, lam = z[1:] - h, y - read * z[-1]
        if step == steps:
            break
        energy = (share * ((errors * errors).sum(axis=0) + lam * lam)).sum(axis=0)
        rises = (energy >= last) & (left > 0)
        size, left, last = np.where(rises, size / 2, size), left - rises, energy
        mu = np.concatenate([_times(errors, slopes)[1:], lam[None]])
        z[1:] -= size * (errors - above * mu)
    return z, [None] * len(h) if slopes is None else slopes, errors, lam


def _checked(
    weights: ArrayLike, x: ArrayLike, y: ArrayLike, activation: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (L + 1, R), x and y (B, R), or a `ValueError`."""
    checks.choice("activation", activation, ACTIVATIONS)
    w, x, y = (checks.array(*item) for item in (("weights", weights), ("x", x), ("y", y)))
    if w.ndim != 2 or w.shape[1] < 2:
        raise ValueError(f"weights has shape {w.shape}: must be (runs, L + 1) with L ≥ 1")
    if x.ndim != 2 or x.shape != y.shape or len(x) != len(w) or x.shape[1] == 0:
        raise ValueError(f"x {x.shape} and y {y.shape}: must both be ({len(w)}, B), B ≥ 1, a batch for each run")
    return w.T, x.T, y.T
