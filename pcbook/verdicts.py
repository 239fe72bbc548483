"""Verdicts: what the evidence says about a claim, computed from a seed every time it is asked for.

A verdict is never typed in. A judge is a function from a seed to a `Verdict`: either it runs proofs, or it
measures, and each part of the claim holds or fails by its 95 % confidence interval.
"""

import functools
import html
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pcbook import data, intervals, onemlp, proofs
from pcbook.experiments import toy
from pcbook.intervals import Interval

PROVED = "proved"
CORRECTED = "corrected"
REPRODUCED = "reproduced"
IN_PART = "reproduced in part"
NOT_REPRODUCED = "not reproduced"

OUTCOMES = {
    PROVED: "every step of the proof was checked symbolically, just now",
    CORRECTED: "the printed form was disproved and a corrected one proved, both symbolically",
    REPRODUCED: "every part of the claim held in the measurement",
    IN_PART: "some parts held and some failed",
    NOT_REPRODUCED: "no part held",
}


@dataclass(frozen=True)
class Verdict:
    """An outcome, the sentence of evidence behind it, and the parts of the claim with whether each held."""

    outcome: str
    evidence: str
    parts: dict[str, bool]
    function: str = ""  # the kernel behind the claim

    def _repr_html_(self) -> str:
        """The verdict as a box: outcome, evidence, the parts with whether each held, and the kernel."""
        rows = "".join(f"<li>{'✓' if held else '✗'} {html.escape(part)}</li>" for part, held in self.parts.items())
        kind = self.outcome.replace(" ", "-")
        return (
            f'<div class="pc-verdict pc-{kind}"><p><strong>Verdict: {self.outcome}.</strong> '
            f"{html.escape(self.evidence)}</p><ul>{rows}</ul>{self._kernel()}</div>"
        )

    def _kernel(self) -> str:
        """A line that names the kernel; in the built book it links to the kernel's entry on the API page."""
        if not self.function:
            return ""
        name = f"<code>{self.function}</code>"
        if os.environ.get("PCBOOK_STATIC") == "1" and not self.function.startswith("experiments."):
            name = f'<a href="api.html#{label(self.function)}">{name}</a>'
        return f"<p>Computed by {name}.</p>"


Judge = Callable[[int], Verdict]  # from a seed


def label(function: str) -> str:
    """The label of an entry of the API page: "api-onemlp-loss"; a class, "theorem.Step": "api-theorem-class-step"."""
    module, _, name = function.rpartition(".")
    kind = "class-" if name[:1].isupper() else ""
    return f"api-{module}-{kind}{name}".replace(".", "-").replace("_", "-").replace("--", "-").lower()


def measured(evidence: str, **parts: bool) -> Verdict:
    """The verdict on measurements: reproduced if every part held, in part if some did."""
    parts = {name.replace("_", " "): bool(held) for name, held in parts.items()}
    held = sum(parts.values())
    outcome = REPRODUCED if held == len(parts) else IN_PART if held else NOT_REPRODUCED
    return Verdict(outcome, evidence, parts)


def proved(*names: str, outcome: str = PROVED) -> Judge:
    """A judge that runs the named theorems; a step that does not check raises `proofs.ProofError`."""

    def judge(seed: int) -> Verdict:
        steps = {name: len(proofs.THEOREMS[name].prove()) for name in names}
        listed = ", ".join(f"{name} ({count} steps)" for name, count in steps.items())
        return Verdict(outcome, f"Checked: {listed}.", dict.fromkeys(names, True))

    return judge


_training = functools.cache(toy.training)
_STARTS = 2000


def _paired(seed: int, quantity: str) -> tuple[Interval, Interval, Interval]:
    """BP's and PC's mean of a measured quantity, and the mean of their paired difference PC − BP."""
    bp, pc = (getattr(_training(name, _STARTS, seed), quantity) for name in ("BP", "PC"))
    return intervals.mean(bp), intervals.mean(pc), intervals.mean(pc - bp)


def judge_landscape(seed: int) -> Verdict:
    """F1: does PC keep away from the saddle, and take a more direct path to the closest solutions?"""
    _, _, saddle = _paired(seed, "nearest_to_saddle")
    bp, pc, detour = _paired(seed, "detour")
    runs = {name: _training(name, _STARTS, seed) for name in ("BP", "PC")}
    shorter = intervals.share(runs["PC"].detour < runs["BP"].detour)
    other = {name: intervals.share(~run.same_side) for name, run in runs.items()}
    branch = intervals.mean(runs["PC"].same_side * 1.0 - runs["BP"].same_side)
    return measured(
        f"Over {_STARTS} paired starts PC keeps {saddle} farther from the saddle. Its path is {pc} times the distance "
        f"to the closest solution, BP's {bp} times, and PC's is the shorter one in {shorter.percent()}. PC ends on the "
        f"other branch in {other['PC'].percent()} of the starts, BP in {other['BP'].percent()}.",
        **{
            "PC keeps farther from the saddle": saddle.low > 0,
            "PC takes the more direct path on average": detour.high < 0,
            "PC takes the more direct path in most starts (our test)": shorter.low > 0.5,
            "PC ends on the closest branch more often than BP (our test)": branch.low > 0,
        },
    )


def judge_alignment(seed: int, count: int = 10_000) -> Verdict:
    """F2: does PC's update point closer, and more reliably, to the closest solution than BP's?"""
    cosine = {s: toy.alignment(count, seed, scale=s, algorithms=("BP", "PC")) for s in (1.0, 2.0)}
    gain = {s: cosines["PC"] - cosines["BP"] for s, cosines in cosine.items()}
    by_batch = [intervals.mean(batch) for batch in gain[1.0]]
    better, wide = intervals.share(gain[1.0][0] > 0), intervals.mean(gain[2.0][0])
    bp, pc = ((c[0] - c[0].mean()) ** 2 for c in cosine[1.0].values())
    variance = intervals.mean(pc - bp)
    step = {name: onemlp.update(name, toy.starts(count, seed), 1.0, toy.SLOPE) for name in ("BP", "PC", "TRN")}
    bp, pc = (onemlp.cosine_similarity(step[name], step["TRN"]) for name in ("BP", "PC"))
    newton = intervals.mean(pc - bp)
    return measured(
        f"Over {count} starts from U(−1, 1) PC's cosine at the first batch exceeds BP's by {by_batch[0]}, its variance "
        f"exceeds BP's by {variance}, and PC is the better aligned one in {better.percent()} of the starts. From "
        f"U(−2, 2) the difference is {wide}. PC's cosine with trust-region Newton exceeds BP's by {newton}.",
        **{
            "closer on average at each of five batches": all(interval.low > 0 for interval in by_batch),
            "reliably: closer in most initialisations": better.low > 0.5,
            "reliably: varying less between initialisations": variance.high < 0,
            "closer when weights start twice as large (our test)": wide.low > 0,
            "closer to trust-region Newton than BP is": newton.low > 0,
        },
    )


def judge_flows(seed: int, count: int = 400, radius: float = 0.1) -> Verdict:
    """F5: near the saddle and a minimum, is PC the faster one to leave, the slower one to arrive?"""
    generator = np.random.default_rng(seed)
    angle = generator.uniform(0, 2 * np.pi, count)
    offset = radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    hessians = {"BP": onemlp.loss_hessian, "PC": onemlp.equilibrated_energy_hessian}
    after, error = {}, []
    for place, w in {"saddle": np.zeros(2), "minimum": np.array([1.0, toy.SLOPE])}.items():
        for name, hessian in hessians.items():
            h = hessian(*w, 1.0, toy.SLOPE)
            ((x, y),) = data.toy_batches(generator, 1, count, toy.SLOPE)
            stray = onemlp.update(name, w + offset, x, y) + offset @ h
            error.append(np.sqrt(np.sum(stray**2) / np.sum((offset @ h) ** 2)))
            after[place, name] = np.array([np.linalg.norm(onemlp.linear_flow(1.0, h, o)) for o in offset])
    saddle, minimum = (intervals.mean((after[p, "PC"] - after[p, "BP"]) / radius) for p in ("saddle", "minimum"))
    return measured(
        f"From {count} directions at distance {radius}, at t = 1, PC's flow is {saddle} radii farther from the saddle "
        f"than BP's, and {minimum} radii farther from the minimum (1, −1). There the linear field is off the "
        f"stochastic update by at most {max(error):.0%} (root mean square).",
        PC_leaves_the_saddle_faster=saddle.low > 0,
        PC_nears_the_minimum_more_slowly=minimum.low > 0,
        the_linear_flow_is_a_good_approximation=max(error) < 0.2,
    )


def judge_robustness(seed: int) -> Verdict:
    """F6: after training, does weight noise raise PC's prediction error less than BP's?"""
    parts, sentences = {}, []
    for reading, sigma in (("standard deviation", 0.5), ("variance", np.sqrt(0.5))):
        bp, pc = (onemlp.perturbed_error(*_training(name, _STARTS, seed).end.T, 1.0, toy.SLOPE, sigma)
                  for name in ("BP", "PC"))  # fmt: skip
        lower, difference = intervals.share(pc < bp), intervals.mean(pc - bp)
        parts[f"lower error on average, 0.5 as {reading}"] = difference.high < 0
        parts[f"lower error in most runs, 0.5 as {reading}"] = lower.low > 0.5
        sentences.append(
            f"With 0.5 as {reading} PC's mean error is {intervals.mean(pc)} against BP's {intervals.mean(bp)}, "
            f"and lower in {lower.percent()} of {_STARTS} runs."
        )
    return measured(" ".join(sentences), **parts)


def judge_inference_landscape(seed: int, eta: float = 0.1, tolerance: float = 0.05) -> Verdict:
    """F8: does inference turn the loss landscape into the equilibrated energy in ten steps?"""
    w = toy.starts(_STARTS, seed, scale=1.5).T
    path = onemlp.energy(onemlp.euler_inference(10, *w, 1.0, toy.SLOPE, eta), *w, 1.0, toy.SLOPE)
    rest = path - onemlp.equilibrated_energy(*w, 1.0, toy.SLOPE)
    share = rest[-1] / rest[0]
    left = share.max()
    return measured(
        f"Of the energy that inference can remove, {intervals.mean(share).percent()} is left on average after 10 Euler "
        f"steps of {eta}, and up to {left:.0%}.",
        the_landscape_starts_as_the_loss=np.allclose(path[0], onemlp.loss(*w, 1.0, toy.SLOPE), rtol=1e-12),
        it_falls_at_every_step_towards_the_equilibrium=bool(np.all(np.diff(rest, axis=0) < 0) and np.all(rest >= 0)),
        step_10_is_the_equilibrium_to_5_percent=left < tolerance,
    )


def judge_precision_ratio(seed: int, count: int = 5000, tolerance: float = 5.0) -> Verdict:
    """F9: how far from BP and TP are γ = 2 and ½, and the two limits?"""
    w = toy.starts(count, seed)
    angles = {}
    for gamma, limit in ((2.0, "BP"), (0.5, "TP"), (0.5, "BP"), (1e4, "BP"), (1e-4, "TP")):
        angles[gamma, limit] = intervals.mean(toy.angles(gamma, limit, w))
    return measured(
        f"Mean angle between updates over {count} starts, in degrees: γ = 2 and BP {angles[2.0, 'BP']}; γ = ½ and TP "
        f"{angles[0.5, 'TP']}, γ = ½ and BP {angles[0.5, 'BP']}; γ = 10⁴ and BP {angles[1e4, 'BP']}; γ = 10⁻⁴ and TP "
        f"{angles[1e-4, 'TP']}.",
        BP_is_the_limit_of_large_γ=angles[1e4, "BP"].high < tolerance,
        TP_is_the_limit_of_small_γ=angles[1e-4, "TP"].high < tolerance,
        γ_2_recovers_BP_within_5_degrees=angles[2.0, "BP"].high < tolerance,
        γ_half_recovers_TP_within_5_degrees=angles[0.5, "TP"].high < tolerance,
    )


def judge_inference_steps(seed: int, tolerance: float = 0.01, degrees: float = 5.0) -> Verdict:
    """T1: are twenty Euler steps of η = 0.1 enough for PC's weight gradient?"""
    error, angle = toy.inference_error(_STARTS, seed)
    enough, aligned = intervals.share(error < tolerance), intervals.share(angle < degrees)
    return measured(
        f"After T = 20 steps of η = 0.1 the weight gradient is off by {intervals.mean(error)} of its length on average "
        f"and by {error.max():.2g} at worst: within 1 % in {enough.percent()} of {_STARTS} starts. Its direction is "
        f"within {degrees:.0f}° in {aligned.percent()}.",
        the_weight_gradient_is_within_1_percent_in_most_starts=enough.low > 0.5,
        its_direction_is_within_5_degrees_in_most_starts=aligned.low > 0.5,
    )


def judge_slowdown(seed: int) -> Verdict:
    """T2: does PC take more steps than BP near a minimum, at the same learning rate?"""
    bp, pc, steps = _paired(seed, "steps")
    _, _, last = _paired(seed, "last")
    return measured(
        f"To ℒ < {toy.TOLERANCE} PC takes {pc} steps and BP {bp}. The last decade of ℒ alone costs PC {last} more.",
        PC_needs_more_steps_in_total=steps.low > 0,
        PC_needs_more_steps_for_the_last_decade_of_the_loss=last.low > 0,
    )


def judge_spread(seed: int, count: int = 5000) -> Verdict:
    """C2: does the reading of 0.1 as standard deviation or variance change Fig. 2?"""
    gain = {}
    for reading, spread in data.SPREADS.items():
        cosines = toy.alignment(count, seed, spread=spread, algorithms=("BP", "PC"))
        gain[reading] = cosines["PC"] - cosines["BP"]
    deviation, variance = gain.values()
    return measured(
        "At the fifth batch PC's gain in cosine is "
        + " and ".join(f"{intervals.mean(g[-1])} with 0.1 as the {reading}" for reading, g in gain.items())
        + ". On a linear task a batch acts only through the mean of x², so the reading rescales the learning rate.",
        the_first_step_has_the_same_direction=np.allclose(deviation[0], variance[0], atol=1e-9),
        PC_is_ahead_on_average_either_way=all(intervals.mean(g[-1]).low > 0 for g in gain.values()),
        PC_is_behind_in_most_initialisations_either_way=all(intervals.share(g > 0).high < 0.5 for g in gain.values()),
    )
