"""Verdicts on PC as an adaptive gradient method (T7) and on its advantage at large batches (T8), from the records."""

from pcbook import intervals
from pcbook.experiments import batch_sizes, optimisers, races
from pcbook.experiments.readings import advantage, cells, closer, growth, ratio, speed_up
from pcbook.verdicts import measured

LARGE, SMALL = batch_sizes.POWERS[-1], batch_sizes.POWERS[0]


def judge_adaptive(seed):
    """T7: is PC an adaptive gradient method, close to Adam?"""
    adam = {p: closer(p, "Adam") for p in races.PROBLEMS}
    like = {p: ratio(p, "like RMSProp") for p in races.PROBLEMS if p != "1MLP"}
    escape = {p: speed_up(p, optimisers.STARTS[1], "PC", "escape") for p in races.PROBLEMS}
    rivals = {p: speed_up(p, optimisers.STARTS[1], "PC", "escape", over="Adam") for p in races.PROBLEMS}
    more = {p: speed_up(p, optimisers.STARTS[0], "PC with Adam", over="PC") for p in races.PROBLEMS}
    return measured(
        f"cos(PC, Adam) − cos(BP, Adam) at the same weights: {_list(adam)}. Correlation of log |PC's step / BP's| with "
        f"RMSProp's over the weights (1 for a division by √v): {_list(like)}. Escape from near the saddle, BP's steps "
        f"over PC's, each at its best rate: {_list(escape)}; Adam's over PC's: {_list(rivals)}. What Adam on top saves "
        f"PC, from random starts: {_list(more)}.",
        **{f"{p}: PC's update is closer to Adam's than BP's is": value.low > 0 for p, value in adam.items()},
        **{f"{p}: its weights' step sizes follow 1/√v": value.low > 0.5 for p, value in like.items()},
        **{f"{p}: it escapes the saddle faster than BP, as adaptive methods do": v.low > 1 for p, v in escape.items()},
        **{f"{p}: Adam on top of it saves nothing": value.high < 1.1 for p, value in more.items()},
    )


def judge_batches(seed):
    """T8: does PC's advantage hold for large mini-batches too?"""
    large, escape = ({p: advantage(p, LARGE, m) for p in batch_sizes.PROBLEMS} for m in ("converge", "escape"))
    small, change = {p: advantage(p, SMALL) for p in large}, {p: growth(p) for p in large}
    angle = {
        pair: intervals.mean([r[pair][-1] - r[pair][0] for _, r in cells("batch-sizes", "angles")])
        for pair in batch_sizes.PAIRS
    }
    return measured(
        f"BP's steps over PC's to convergence, each at its best rate, batch {LARGE}: {_list(large)}; batch {SMALL}: "
        f"{_list(small)}. To half of the first loss, batch {LARGE}: {_list(escape)}. Change of the factor from batch "
        f"{SMALL} to {LARGE}: {_list(change)}. Cosines on the digits, from batch {batch_sizes.ANGLE_SIZES[0]} to "
        f"{batch_sizes.ANGLE_SIZES[-1]}: {_list(angle)}.",
        **{f"{p}: PC converges in fewer steps at batch {LARGE}": value.low > 1 for p, value in large.items()},
        **{f"{p}: PC halves the loss in fewer steps at batch {LARGE}": value.low > 1 for p, value in escape.items()},
        **{f"{p}: the advantage is no smaller than at batch {SMALL}": v.high >= 1 for p, v in change.items()},
    )


def _list(found):
    return ", ".join(f"{name} {value}" for name, value in found.items())
