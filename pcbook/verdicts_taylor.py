"""Verdicts on the Taylor expansion and the weight update in deep networks (E5, E6, E7 and E7′)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pcbook import inference, intervals, network, taylor
from pcbook.experiments import deep_taylor
from pcbook.experiments.deep_taylor import NAMES, Problem, distance, random_problem, targets
from pcbook.proofs_deep import DEEP
from pcbook.verdicts import CORRECTED, PROVED, Verdict, measured

STEP, PRINTED, FIXED = NAMES
DEPTHS, BENT = (2, 3, 4, 6), ("tanh", "softplus", "gelu")


def judge_expansion(seed: int) -> Verdict:
    """E5: does the energy start as the loss, with its gradient and the joint Fisher information for its Hessian?"""
    problems = list(_problems(seed, BENT))
    first, second, cubic = zip(*(_differences(p) for p in problems), strict=True)
    ranks = [int(torch.linalg.matrix_rank(taylor.output_fisher(p.net))) / sum(p.net.sizes[1:-1]) for p in problems]
    order = intervals.mean(cubic)
    return _proved(
        measured(
            f"On {len(problems)} random networks at a residual of 10, finite differences of the energy agree with the "
            f"loss gradient to {max(first):.0e} and with the joint Fisher information to {max(second):.0e}. Energy and "
            f"model part with the step to the power {order}. The Fisher information of p(y | z) has at most "
            f"{max(ranks):.0%} of full rank.",
            **{
                "the slope at the feedforward pass is the gradient of the loss": max(first) < 1e-6,
                "the Hessian there is the joint Fisher information, at any residual": max(second) < 1e-6,
                "what is left out is of third order": order.low > 2.9 and order.high < 3.1,
                "the Fisher information of p(y | z), which the text names, is singular": max(ranks) < 1,
            },
        ),
        CORRECTED,
        "taylor-deep",
    )


def judge_step(seed: int) -> Verdict:
    """E6: is the equilibrium where the trust-region step ends, exactly or to first order?"""
    exact = [deep_taylor.relative_errors(p, 1.0)[STEP] for p in (*_problems(seed, ["linear"]), *_shallow(seed))]
    slopes = [deep_taylor.slope(p, STEP) for p in _problems(seed, BENT)]
    far = [deep_taylor.relative_errors(p, 3.0)[STEP] for p in _problems(seed, ["tanh"])]
    slope = intervals.mean(slopes)
    return _proved(
        measured(
            f"Largest relative error of the step: {max(exact):.0e} in linear nets and with one hidden layer. Elsewhere "
            f"it grows with the residual to the power {slope} and, at a residual of 3 in tanh networks, has a median "
            f"of {np.median(far):.0%}.",
            **{
                "exact in linear networks and with one hidden layer": max(exact) < 1e-9,
                "elsewhere exact to first order in the residual": slope.low > 0.95 and slope.high < 1.05,
            },
        ),
        PROVED,
        "output-space",
        "eq7-corrected",
        "linear-model-exact",
    )


def judge_printed_update(seed: int) -> Verdict:
    """E7: is the weight gradient at the equilibrium the loss gradient plus a trust-region direction?"""
    problems = [*_problems(seed, ("linear", *BENT)), *_shallow(seed)]
    near = [deep_taylor.relative_errors(p, 1e-3)[PRINTED] for p in problems]
    slope, plain = intervals.mean([deep_taylor.slope(p, PRINTED) for p in problems]), [_plain(p) for p in problems]
    error, worse = intervals.mean(near), intervals.share(np.array(near) > plain)
    return _proved(
        measured(
            f"On {len(near)} random networks of 1 to 6 hidden layers, at a residual of 0.001, the printed gradient "
            f"misses the exact one by {error} of its length, at least by {min(near):.2g}; the loss gradient alone is "
            f"the nearer one in {worse.percent()}. The error follows the residual to the power {slope}.",
            **{
                "as printed, its error does not fall with the residual": abs(slope.value) < 0.05,
                "as printed, it misses by more than half of the gradient on every net": min(near) > 0.5,
                "as printed, it is farther off than the loss gradient in most": worse.low > 0.5,
            },
        ),
        CORRECTED,
        "eq7-deep",
        "eq7-corrected",
    )


def judge_corrected_update(seed: int) -> Verdict:
    """E7′: is it, to first order, the loss gradient at the trust-region solution, and when exactly?"""
    slope = intervals.mean([deep_taylor.slope(p, FIXED) for p in _problems(seed, ("linear", *BENT))])
    shallow = [deep_taylor.relative_errors(p, 1.0)[FIXED] for p in _shallow(seed)]
    first, moved = zip(*(_linear_errors(p) for p in _problems(seed, ["linear"])), strict=True)
    near = intervals.mean([deep_taylor.relative_errors(p, 0.01)[FIXED] for p in _problems(seed, ("linear", *BENT))])
    return _proved(
        measured(
            f"The corrected gradient's relative error follows the residual to the power {slope}; at a residual of 0.01 "
            f"it is {near}. With one hidden layer it is at most {max(shallow):.0e}. The loss gradient of the moved "
            f"network, layer by layer, differs from PC's by at most {max(moved):.0e} in linear networks.",
            **{
                "its error falls in proportion to the residual": slope.low > 0.95 and slope.high < 1.05,
                "exact for one hidden layer, whatever its activation": max(shallow) < 1e-9,
                "exact for the first layer of deep linear networks": max(first) < 1e-9,
                "and for all of them at the moved activities": max(moved) < 1e-9,
            },
        ),
        PROVED,
        "eq7-corrected",
        "implicit-gradient",
        "linear-model-exact",
    )


def _problems(seed: int, activations: Sequence[str]) -> Iterator[Problem]:
    """Random networks of every depth and activation."""
    rng = np.random.default_rng(seed)
    for hidden in DEPTHS:
        for activation in activations:
            yield random_problem(int(rng.integers(2**31)), hidden, activation)


def _shallow(seed: int) -> list[Problem]:
    rng = np.random.default_rng(seed)
    return [random_problem(int(rng.integers(2**31)), 1, activation) for activation in ("linear", *BENT)]


def _differences(
    problem: Problem, h: float = 1e-5, high: float = 1e-2, low: float = 1e-3
) -> tuple[float, float, float]:
    """Finite differences at z_t and r = 10 against g and I, and the power of t with which F and its model part."""
    (net, x, _), y = problem, targets(problem, 10.0)
    z, info = network.forward(net, x)[:-1], taylor.fisher(net, x)[0]
    v = [torch.cos(l + torch.arange(1.0, a.shape[1] + 1, dtype=a.dtype)).expand_as(a) for l, a in enumerate(z)]

    def at(t: float, f: Callable[..., Any] = network.energy) -> Any:
        return f(net, [a + t * d for a, d in zip(z, v, strict=True)], x, y)

    def rest(t: float) -> float:
        return abs(at(t) - taylor.model(net, x, y, [t * d for d in v])).item()

    slope = sum(((g * d).sum() for g, d in zip(taylor.gradient(net, x, y), v, strict=True)), x.new_zeros(()))
    along = (info @ torch.cat(v, 1)[0])[None].split(net.sizes[1:-1], 1)
    up, down = at(h, network.activity_gradients), at(-h, network.activity_gradients)
    bend = [(a - b) / (2 * h) for a, b in zip(up, down, strict=True)]
    power = np.log(rest(high) / rest(low)) / np.log(high / low)
    return distance([(at(h) - at(-h)) / (2 * h)], [slope[None]]), distance(bend, along), power


def _plain(problem: Problem, residual: float = 1e-3) -> float:
    """The relative error of the loss gradient taken for PC's."""
    (net, x, _), y = problem, targets(problem, residual)
    exact = inference.solve(net, x, y, rtol=1e-9).weight_gradients()[:-1]
    return distance(network.backprop_gradients(net, x, y)[:-1], exact)


def _linear_errors(problem: Problem) -> tuple[float, float]:
    """Of E7′ for W_1, and of the local gradients at z_t + Δz for all layers, at a residual of 1."""
    (net, x, _), y = problem, targets(problem, 1.0)
    exact = inference.solve(net, x, y, rtol=1e-9).weight_gradients()
    moved = [z + d for z, d in zip(network.forward(net, x), taylor.inference_step(net, x, y), strict=False)]
    first = distance(taylor.corrected_gradients(net, x, y)[:1], exact[:1])
    return first, distance(network.weight_gradients(net, moved, x, y), exact)


def _proved(verdict: Verdict, outcome: str, *names: str) -> Verdict:
    """The verdict of measurements beside theorems: `outcome`, if every step checks and every measurement agrees."""
    steps = [f"{name} ({len(DEEP[name].prove())} steps)" for name in names]
    agreed = all(verdict.parts.values())
    evidence = f"Checked: {', '.join(steps)}. {verdict.evidence}"
    return replace(verdict, outcome=outcome if agreed else verdict.outcome, evidence=evidence)
