"""Verdicts on PC as an adaptive gradient method (T7) and on its advantage at large batches (T8), from the records."""

from collections.abc import Mapping

from pcbook.experiments import batch_sizes, optimisers, races
from pcbook.experiments.readings import advantage, beyond_half_of_adam, closer, growth, nearer_natural, ratio, speed_up
from pcbook.intervals import Interval
from pcbook.verdicts import Verdict, measured

KEPT = 0.8
LARGE, SMALL = batch_sizes.POWERS[-1], batch_sizes.POWERS[0]


def judge_adaptive(seed: int) -> Verdict:
    """T7: is PC an adaptive gradient method, close to Adam?"""
    random, near = optimisers.STARTS
    adam = {p: closer(p, "Adam") for p in races.PROBLEMS}
    like, half = {p: ratio(p, "like RMSProp") for p in adam}, {p: beyond_half_of_adam(p) for p in adam}
    escape = {p: speed_up(p, near, "PC", "escape") for p in adam}
    sooner = {p: speed_up(p, near, "PC with Adam", "escape", over="PC") for p in adam}
    quicker = {p: speed_up(p, random, "PC with Adam", over="PC") for p in adam}
    return measured(
        f"cos(PC, Adam) − cos(BP, Adam) at the same weights: {_list(adam)}. Correlation over the weights of "
        f"log |PC's step / BP's| with RMSProp's: {_list(like)}. Escape from near the saddle, BP's steps over PC's, "
        f"each at its best rate: {_list(escape)}. PC's steps over those of PC with Adam, in this escape: "
        f"{_list(sooner)}; to convergence from random starts: {_list(quicker)}.",
        **_parts("PC's update is closer to Adam's than BP's is", {p: v.low > 0 for p, v in adam.items()}),
        **_parts("its step sizes follow 1/√v at least half as well as Adam's", {p: v.low > 0 for p, v in half.items()}),
        **_parts("it escapes the saddle faster than BP, as adaptive methods do", _faster(escape)),
        **_parts("Adam on top of it does not hasten the escape", {p: v.high < 1.1 for p, v in sooner.items()}),
        **_parts("nor convergence from random starts", {p: v.high < 1.1 for p, v in quicker.items()}),
    )


def judge_batches(seed: int) -> Verdict:
    """T8: does PC's advantage hold for large mini-batches too?"""
    large, escape = ({p: advantage(p, LARGE, m) for p in batch_sizes.PROBLEMS} for m in ("converge", "escape"))
    change = {p: growth(p) for p in large}
    kept = {p: v.low > KEPT for p, v in change.items()}
    near = {f"batch {size}": nearer_natural(size) for size in (SMALL, batch_sizes.ANGLE_SIZES[-1])}
    return measured(
        f"BP's steps over PC's at batch {LARGE}, each at its best rate, to convergence: {_list(large)}; to half of the "
        f"first loss: {_list(escape)}. The factor to convergence over that at batch {SMALL}: {_list(change)}. "
        f"cos(PC, natural gradient) − cos(BP, natural gradient) on the digits: {_list(near)}.",
        **_parts(f"PC converges in fewer steps at batch {LARGE}", _faster(large)),
        **_parts(f"PC halves the loss in fewer steps at batch {LARGE}", _faster(escape)),
        **_parts(f"at least {100 * KEPT:.0f} % of the factor at batch {SMALL} is kept", kept),
        **{f"digits, {b}: PC is closer to natural gradient than BP is": value.low > 0 for b, value in near.items()},
    )


def _faster(factors: Mapping[str, Interval]) -> dict[str, bool]:
    return {p: value.low > 1 for p, value in factors.items()}


def _parts(text: str, held: Mapping[str, bool]) -> dict[str, bool]:
    """{part: whether it held}: on every one of the chains (the 1MLP is one), and on the digits."""
    chains = [value for problem, value in held.items() if problem != "digits"]
    return {f"all {len(chains)} chains: {text}": all(chains), f"digits: {text}": held["digits"]}


def _list(found: Mapping[str, Interval]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in found.items())
