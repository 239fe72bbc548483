"""Times that stand a noisy machine: each is taken right after one of backpropagation, and divided by it."""

import statistics
import time

import torch

BASELINES = 5  # measurements of the baseline before each one of a step: their median is what it is divided by


def seconds(function, device="cpu"):
    """Wall-clock seconds of one call, the device's queue empty before and after."""
    wait(device)
    start = time.perf_counter()
    result = function()
    wait(device)
    taken = time.perf_counter() - start
    del result  # what it returned is let go outside the measurement
    return taken


def wait(device):
    """Return once the device has done what it was asked."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(baseline, steps, rounds=30, budget=10.0):
    """{name: summary} of the steps, measured in turn (A, B, C, A, B, C, …), each after the baseline.

    `baseline` and each of `steps` return the seconds that they took, and have been called before. A step takes part
    in at most `rounds` rounds, in at least one, and in no more than `budget` seconds allow. The summary holds the
    median time, the baseline's, the median of their ratios round by round, its quartiles, and the number of rounds.
    """
    spent, pairs = dict.fromkeys(steps, 0.0), {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            if pairs[name] and spent[name] + spent[name] / len(pairs[name]) > budget:
                continue
            baseline()  # brings the weights back into the cache
            base = statistics.median(baseline() for _ in range(BASELINES))
            pairs[name].append((step(), base))
            spent[name] += sum(pairs[name][-1])
    return {name: summary(taken) for name, taken in pairs.items()}


def summary(pairs):
    """Medians and quartiles of (seconds, the baseline's seconds) pairs."""
    ratios = [own / base for own, base in pairs]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {
        "seconds": statistics.median(own for own, _ in pairs),
        "baseline_seconds": statistics.median(base for _, base in pairs),
        "ratio": statistics.median(ratios),
        "ratio_low": low,
        "ratio_high": high,
        "rounds": len(pairs),
    }
