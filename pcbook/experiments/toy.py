"""The toy experiments of the paper's appendix A.1 (Figs. 1, 2 and 6) on as many initialisations as you like.

Every function draws its starts w ~ U(−scale, scale)² and its mini-batches from `seed`, and gives BP and PC
the same ones, so that differences are paired. Defaults are the paper's: slope −1, x ~ N(1, 0.1) read as a
standard deviation, batches of 64, α = 0.2, training until ℒ < 0.001.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pcbook import checks, data, onemlp

SLOPE, LEARNING_RATE, TOLERANCE = -1.0, 0.2, 1e-3


def starts(count: int, seed: int, scale: float = 1.0) -> np.ndarray:
    """`count` initial weights w ~ U(−scale, scale)², shape (count, 2)."""
    return _starts(np.random.default_rng(seed), count, scale)


def alignment(
    count: int,
    seed: int,
    scale: float = 1.0,
    batches: int = 5,
    spread: float = 0.1,
    algorithms: Iterable[str] = ("BP", "PC", "TRN"),
) -> dict[str, np.ndarray]:
    """Fig. 2: cosine between each update and the direction to the closest solution; name → (batches, count).

    Each algorithm follows its own trajectory. NaN where a run has diverged.
    """
    generator = np.random.default_rng(seed)
    w0 = _starts(generator, count, scale)
    drawn = list(data.toy_batches(generator, batches, count, SLOPE, spread))
    return {
        name: np.stack([_cosines(name, w, x, y) for w, (x, y) in zip(path, drawn, strict=False)])
        for name in algorithms
        for path in [onemlp.descent(name, w0, drawn, LEARNING_RATE)]
    }


def cosine_to_closest(
    algorithm: str, w: ArrayLike, x: ArrayLike = 1.0, y: ArrayLike = SLOPE, **settings: Any
) -> np.ndarray:
    """Cosine between `algorithm`'s update at `w`, (..., 2), and the way to the closest solution."""
    w = checks.pairs("w", w)
    closest = onemlp.closest_solution(w[..., 0], w[..., 1], SLOPE)
    return onemlp.cosine_similarity(onemlp.update(algorithm, w, x, y, **settings), closest - w)


def alignment_gain(w: ArrayLike) -> np.ndarray:
    """cos(PC) − cos(BP) with the way to the closest solution, at weights w (..., 2); shape (...)."""
    return cosine_to_closest("PC", w) - cosine_to_closest("BP", w)


def angles(gamma: ArrayLike, limit: str, w: ArrayLike) -> np.ndarray:
    """Angle in degrees between PC's update at precision ratio `gamma` and that of `limit`, "BP" or "TP", at w (..., 2).

    `gamma` broadcasts against w without its last axis.
    """
    pc, other = onemlp.update("PC", w, 1.0, SLOPE, pi1=gamma), onemlp.update(limit, w, 1.0, SLOPE)
    return np.degrees(np.arccos(onemlp.cosine_similarity(pc, other)))


def _cosines(algorithm: str, w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    result, alive = np.full(len(w), np.nan), (np.abs(w) < 1e6).all(axis=-1)
    result[alive] = cosine_to_closest(algorithm, w[alive], x[alive], y[alive])
    return result


@dataclass(frozen=True)
class Training:
    """What `training` measured for each start; every array has shape (count,) unless said otherwise."""

    start: np.ndarray  # (count, 2)
    end: np.ndarray  # (count, 2), weights when the loss first fell below the tolerance
    steps: np.ndarray  # updates until then
    escape: np.ndarray  # of these, the ones with ℒ still above half its value at the saddle
    last: np.ndarray  # of these, the ones with ℒ already below ten times the tolerance
    length: np.ndarray  # length of the path
    nearest_to_saddle: np.ndarray  # smallest distance to the origin on the path
    distance: np.ndarray  # from the start to the closest solution
    same_side: np.ndarray  # whether the end lies on the branch of the closest solution

    @property
    def detour(self) -> np.ndarray:
        """Path length plus what is left to the solutions at the end, over the distance of the closest one; ≥ 1."""
        rest = np.linalg.norm(onemlp.closest_solution(*self.end.T, SLOPE) - self.end, axis=-1)
        return (self.length + rest) / self.distance


def training(
    algorithm: str, count: int, seed: int, scale: float = 1.0, spread: float = 0.1, max_steps: int = 5000
) -> Training:
    """Trains `count` 1MLPs until ℒ < 0.001 at x = 1; `RuntimeError` if one diverges or needs more than `max_steps`."""
    if checks.count("max_steps", max_steps) == 0:
        raise ValueError("max_steps = 0: must be at least 1")
    generator = np.random.default_rng(seed)
    w = start = _starts(generator, count, scale)
    closest = onemlp.closest_solution(*start.T, SLOPE)
    steps, escape, last = np.zeros((3, count), dtype=int)
    at_saddle = onemlp.loss(0.0, 0.0, 1.0, SLOPE)
    length, nearest = np.zeros(count), np.linalg.norm(start, axis=-1)
    for x, y in data.toy_batches(generator, max_steps, 1, SLOPE, spread):
        now = onemlp.loss(*w.T, 1.0, SLOPE)
        going = ~(now < TOLERANCE)
        if not going.any():
            distance = np.linalg.norm(closest - start, axis=-1)
            side = np.sign(w[:, 0]) == np.sign(closest[:, 0])
            return Training(start, w, steps, escape, last, length, nearest, distance, side)
        with np.errstate(all="ignore"):
            after = np.where(going[:, None], w + LEARNING_RATE * onemlp.update(algorithm, w, x, y), w)
        if not np.all(np.abs(after) < 1e6):
            raise RuntimeError(f"{algorithm} diverged from {np.sum(~(np.abs(after) < 1e6).all(axis=-1))} starts")
        steps = steps + going
        escape, last = escape + (now > at_saddle / 2), last + (going & (now < 10 * TOLERANCE))
        length = length + np.linalg.norm(after - w, axis=-1)
        w, nearest = after, np.minimum(nearest, np.linalg.norm(after, axis=-1))
    raise RuntimeError(f"{algorithm} left {going.sum()} of {count} runs above ℒ = {TOLERANCE} after {max_steps} steps")


def inference_error(
    count: int, seed: int, steps: int = 20, eta: float = 0.1, scale: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """T1: how far PC's weight gradient after `steps` Euler steps is from the equilibrium's.

    Returns the relative error and the angle in degrees, each (count,).
    """
    w1, w2 = starts(count, seed, scale).T
    exact = onemlp.equilibrated_energy_gradient(w1, w2, 1.0, SLOPE)
    z = onemlp.euler_inference(steps, w1, w2, 1.0, SLOPE, eta)[-1]
    found = onemlp.energy_gradient(z, w1, w2, 1.0, SLOPE)
    error = np.linalg.norm(found - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
    return error, np.degrees(np.arccos(onemlp.cosine_similarity(found, exact)))


def _starts(generator: np.random.Generator, count: int, scale: float) -> np.ndarray:
    return generator.uniform(-1, 1, size=(checks.count("count", count), 2)) * checks.scalar("scale", scale)
