"""Angles between updates at the same weights: PC's and BP's beside every other method's, along a path of training."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcbook import second_order
from pcbook.experiments import races

PATH_RATES = {"1MLP": 0.2, "linear chain": 0.3, "tanh chain": 0.3, "digits": 0.3}
DAMPINGS = (0.1, 1.0, 10.0)
SHARES = 9  # looks at each path, evenly over its updates
PLAIN = tuple(races.ELEMENTWISE)
DAMPED = ("Newton", "natural gradient", "sample by sample")
TARGETS = ("BP", *PLAIN, *(f"{name}, λ = {damping:g}" for name in DAMPED for damping in DAMPINGS))


def directions(name: str, path: str, seed: int, runs: int, cap: int) -> dict[str, Any]:
    """Cosines of PC's and BP's update with the `TARGETS`', along the path of "BP" or "PC", until it has converged.

    "steps" (runs,): the paths' lengths. "training": mean cosine along each path, {target: {"PC": (runs,), "BP": …}}.
    "curve": mean over the runs at each of `SHARES` points. "ratios": `ratios`. Runs that start converged are left out.
    """
    problem = races.PROBLEMS[name]
    steps, last = follow(problem, path, PATH_RATES[name], seed, runs, cap)
    found = {t: {a: cosine(steps[a], steps[t]).numpy() for a in ("PC", "BP")} for t in TARGETS}
    return {
        "steps": last.tolist(),
        "training": {t: {a: rounded(c.mean(0)) for a, c in both.items()} for t, both in found.items()},
        "curve": {t: {a: rounded(c.mean(1)) for a, c in both.items()} for t, both in found.items()},
        "ratios": ratios(steps),
    }


def follow(
    problem: races.Problem, path: str, rate: float, seed: int, runs: int, cap: int
) -> tuple[dict[str, Tensor], Tensor]:
    """{method: its update (SHARES, runs, P)} at weights along one path of SGD, and the paths' lengths (runs,).

    Momentum, RMSProp and Adam have seen BP's gradients at all weights of the path before.
    """
    theta, stream = races.starts(problem, seed, runs), races.batches(problem, seed, runs, condense=False)
    memory = {name: races.Elementwise(name, theta) for name in PLAIN}
    kept, last = [], torch.full((runs,), cap)
    for step in range(cap):
        last[(last == cap) & (races.losses(problem, theta) < problem.converged)] = step
        if (last < cap).all():
            break
        x, y = next(stream)
        slope = {a: races.gradients(problem, a, theta, x, y) for a in ("BP", "PC")}
        kept.append((theta, x, y, *(-g for g in slope.values()), *(m(slope["BP"]) for m in memory.values())))
        theta = theta - rate * slope[path]
    moved = (last > 0).nonzero().squeeze(1)
    index = torch.linspace(0, 1, SHARES, dtype=theta.dtype)[:, None] * (last[moved] - 1)
    index = index.round().long()
    theta, x, y, *steps = (
        torch.stack([torch.stack([part[k][run] for k in row]) for row, run in zip(index.T, moved, strict=True)], 1)
        for part in zip(*kept, strict=True)
    )
    return dict(zip(("BP", "PC", *PLAIN), steps, strict=True)) | curved(problem, theta, x, y), last[moved]


def curved(problem: races.Problem, theta: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """{"Newton, λ = 1": its step (..., P), …} for every one of `DAMPED` and `DAMPINGS`."""
    of = problem.sizes, problem.activation
    found: dict[str, list[Tensor]] = {}
    lead, size = theta.shape[:2], theta.shape[:2].numel() if problem.chain else 1
    for at, inputs, targets in zip(*(part.flatten(0, 1).split(size) for part in (theta, x, y)), strict=True):
        hessian = second_order.hessian(at, *of, inputs, targets, chunk=None if problem.chain else 256)
        slope = second_order.gradient(at, *of, inputs, targets)
        jacobian, residual = second_order.jacobian(at, *of, inputs), targets - second_order.outputs(at, *of, inputs)
        for damping in DAMPINGS:
            steps = (
                second_order.newton(slope, hessian, damping),
                second_order.natural(jacobian, residual, damping),
                second_order.samplewise(jacobian, residual, damping),
            )
            for name, step in zip(DAMPED, steps, strict=True):
                found.setdefault(f"{name}, λ = {damping:g}", []).append(step)
    return {name: torch.cat(steps).unflatten(0, lead) for name, steps in found.items()}


def ratios(steps: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """How a method's step differs from BP's weight by weight, mean over each path, {name: {"PC": (runs,), …}}.

    "like RMSProp": over the weights, the correlation of log |step / BP's| with that of RMSProp, which is −½ log v.
    "reversed": share of weights that the method moves the other way than BP, which no division by √v does.
    """
    shrink = {name: (steps[name] / steps["BP"]).abs().log() for name in ("PC", "RMSProp", "Adam")}
    like = {name: correlation(value, shrink["RMSProp"]).mean(0) for name, value in shrink.items()}
    back = {name: (steps[name] * steps["BP"] < 0).double().mean(-1).mean(0) for name in shrink}
    return {
        "like RMSProp": {name: rounded(value) for name, value in like.items()},
        "reversed": {name: rounded(value) for name, value in back.items()},
    }


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Eq. 8 over the last axis."""
    return torch.nn.functional.cosine_similarity(a, b, dim=-1, eps=1e-300)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's, over the last axis."""
    return cosine(a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True))


def rounded(values: Any, digits: int = 5) -> Any:
    """As a list of numbers that a record holds."""
    return np.round(np.asarray(values, dtype=float), digits).tolist()
