"""The paper's deep chains (Figs. 3 and 7) and past them: depths, rates, seeds, both algorithms, all confounds. NumPy.

One cell is one activation, reading of "N(1, 0.1)", depth and method, with every learning rate and seed at once. Both
loss scalings are learning rates times a factor, and one run shows the stopping rule and what lies beyond it.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pcbook import chains, checks, data, records
from pcbook.sweep import Experiment

BATCH, TEST, EVERY = 64, 256, 500
SLOPES = {"linear": -1.0, "tanh": -1.0, "relu": 2.0}  # y = m x
READINGS = {"deviation": data.SPREADS["standard deviation"], "variance": data.SPREADS["variance"]}
# What a loss averaged over batch and outputs (BP, d = 1), or an energy summed over both (PC), does to a step.
SCALINGS = {"BP": {"half": 1, "mean": 2}, "PC": {"half": 1, "sum": BATCH}, "Euler": {"half": 1, "sum": BATCH}}
EDGES = (1.0, 10.0, 100.0)  # where the grid of learning rates may end: the paper's at 1

# Activation, method: updates at most where the learning rate times its scaling lies from the first to the second
# number, and elsewhere. 0 leaves those rates out.
CAPS = (
    ("linear", "BP", 0.05, 2.0, 20_000, 5000),
    ("linear", "PC", 0.05, 50.0, 20_000, 5000),
    ("linear", "Euler", 0.5, 15.0, 1000, 0),
    ("relu", "BP", 0.0, 1e4, 10_000, 0),
    ("relu", "PC", 0.0, 1e4, 10_000, 0),
    ("relu", "Euler", 0.05, 2.0, 1000, 0),
    ("tanh", "BP", 0.05, 15.0, 10_000, 5000),
    ("tanh", "PC", 0.5, 15.0, 5000, 1000),
    ("tanh", "Euler", 0.5, 15.0, 500, 0),
)


@dataclass(frozen=True)
class Configuration:
    """The grid, and what was cut from it: updates at most, and seeds and rates of Euler's inference."""

    seeds: tuple[int, ...] = tuple(range(100))
    paper_seeds: int = 3  # the first of them stand for the paper's
    depths: tuple[int, ...] = (1, 2, 3, 5, 7, 10, 15)
    rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # the paper's five, and two decades more
    between: tuple[float, ...] = (0.03, 0.3, 3.0, 30.0)  # for the book's scaling alone: is the grid fine enough?
    threshold: float = 0.01
    points: int = 40  # of the curves, at steps that grow geometrically
    caps: tuple[tuple[str, str, float, float, int, int], ...] = CAPS
    euler_seeds: tuple[tuple[str, int], ...] = (("linear", 20), ("relu", 20), ("tanh", 10))
    euler_steps: int = 500  # of the inference


def cells(configuration: Configuration, done: list[Any]) -> list[dict[str, Any]]:
    """Every activation, reading, method and depth, the dearest first."""
    if done:
        return []
    return [
        {"activation": activation, "reading": reading, "method": method, "depth": depth}
        for activation in ("tanh", "relu", "linear")
        for method in ("PC", "BP", "Euler")
        for depth in reversed(configuration.depths)
        for reading in READINGS
    ]


def initial(activation: str, depth: int, seed: int) -> np.ndarray:
    """Initial weights (L + 1,): PyTorch's default for one unit a layer, U(−1, 1), or for ReLU the paper's U(½, 1)."""
    generator = np.random.default_rng([checks.count("seed", seed), 0, checks.count("depth", depth)])
    return generator.uniform(*((0.5, 1.0) if activation == "relu" else (-1.0, 1.0)), size=depth + 1)


def batches(activation: str, reading: str, seeds: Sequence[int], steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The `chains.stand_ins` of training batches of 64 inputs, 500 steps at a time.

    Every seed has its own batches, the same for all depths, methods and activations.
    """
    return (_stand_ins(activation, reading, tuple(seeds), k) for k in range(-(-steps // EVERY)))


@functools.cache
def _stand_ins(activation: str, reading: str, seeds: tuple[int, ...], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Kept for the next depth: drawing the numbers takes longer than training on what stands in for them."""
    return chains.stand_ins(inputs(reading, seeds, k), activation)


def inputs(reading: str, seeds: Sequence[int], k: int) -> np.ndarray:
    """The batches x (500, seeds, 64) of the k-th 500 steps."""
    noise = [np.random.default_rng([seed, 1, k]).standard_normal((EVERY, BATCH)) for seed in seeds]
    return 1 + READINGS[reading] * np.stack(noise, axis=1)


def test_inputs(reading: str, seeds: Sequence[int]) -> np.ndarray:
    """A test set x (seeds, 256) for each seed."""
    return np.stack([1 + READINGS[reading] * np.random.default_rng([seed, 2]).standard_normal(TEST) for seed in seeds])


def grid(configuration: Configuration, cell: dict[str, Any]) -> list[tuple[str, float, float, int]]:
    """[(scaling, α, effective rate, cap)] of a cell's runs."""
    ((low, high, long, short),) = (
        caps[2:] for caps in configuration.caps if caps[:2] == (cell["activation"], cell["method"])
    )
    found = [
        (scaling, rate, factor * rate, long if low <= factor * rate <= high else short)
        for scaling, factor in SCALINGS[cell["method"]].items()
        for rate in sorted(configuration.rates + configuration.between * (scaling == "half"))
    ]
    return [row for row in found if row[-1]]


def seeds_of(configuration: Configuration, cell: dict[str, Any]) -> tuple[int, ...]:
    """All seeds, or for Euler's inference the first few."""
    limit = dict(configuration.euler_seeds)[cell["activation"]] if cell["method"] == "Euler" else None
    return configuration.seeds[:limit]


def history(
    configuration: Configuration,
    cell: dict[str, Any],
    seeds: Sequence[int],
    rows: list[tuple[str, float, float, int]] | None = None,
) -> chains.History:
    """The `chains.History` of a cell, for some seeds and rows of its `grid`."""
    rows = grid(configuration, cell) if rows is None else rows
    caps = [cap for *_, cap in rows]
    activation, reading = cell["activation"], cell["reading"]
    return chains.train(
        cell["method"],
        np.stack([initial(activation, cell["depth"], seed) for seed in seeds]),
        batches(activation, reading, seeds, max(caps)),
        [rate for *_, rate, _ in rows],
        activation,
        SLOPES[activation],
        steps=caps,
        test=test_inputs(reading, seeds),
        marks=marks(configuration, max(caps)),
        threshold=configuration.threshold,
        every=EVERY,
        inference_steps=configuration.euler_steps,
    )


def marks(configuration: Configuration, cap: int) -> np.ndarray:
    """Steps at which curves are kept: 0, and from 1 to the cap in equal ratios."""
    return np.unique(np.r_[0, np.round(np.geomspace(1, cap - 1, configuration.points - 1)).astype(int)])


def run(configuration: Configuration, cell: dict[str, Any], device: str) -> dict[str, Any]:
    """What happened to every seed at every rate, and the curves at the rates that some figure picks."""
    seeds, rows = seeds_of(configuration, cell), grid(configuration, cell)
    found = history(configuration, cell, seeds, rows)
    table = [_row(found, i, *row) for i, row in enumerate(rows)]
    curves = {scaling: _curves(configuration, found, rows, scaling) for scaling in SCALINGS[cell["method"]]}
    results = {"seeds": len(seeds), "rows": table, "marks": found.marks.tolist(), "curves": curves}
    return {"results": results | {"unsolved": found.unsolved}, "timing": {}}


def _row(found: chains.History, i: int, scaling: str, rate: float, effective: float, cap: int) -> dict[str, Any]:
    """One learning rate: a number for each seed, −1 for never; −2 in `hit` for divergence."""
    late = found.plateau[i] >= 0
    return {
        "scaling": scaling,
        "rate": rate,
        "cap": cap,
        "hit": np.where(found.diverged[i] >= 0, -2, found.hit[i]).tolist(),
        "half": found.half[i].tolist(),
        "plateau": found.plateau[i].tolist(),
        "stop_loss": _numbers(found.stop_train[i]),
        "end_loss": _numbers(found.end_train[i][late]),  # of the seeds that the plateau rule stopped
        "stop_gap": _gap(found.stop_test[i], found.stop_train[i]),
        "end_gap": _gap(found.end_test[i], found.end_train[i]),
    }


def _gap(test: np.ndarray, train: np.ndarray) -> list[float | None] | None:
    """[mean, standard error, count] of test minus training losses, of the runs that did not diverge."""
    both = np.isfinite(test) & np.isfinite(train)
    kept = test[both] - train[both]
    if len(kept) < 2:
        return None
    return [*_numbers([kept.mean(), kept.std(ddof=1) / np.sqrt(len(kept))]), len(kept)]


def _curves(
    configuration: Configuration, found: chains.History, rows: list[tuple[str, float, float, int]], scaling: str
) -> list[dict[str, Any]]:
    """Mean and standard error of the losses over the steps, for every learning rate that `best` may pick."""
    index = [i for i, row in enumerate(rows) if row[0] == scaling and row[1] in configuration.rates]
    table = [_row(found, i, *rows[i]) for i in index]
    count, picked = found.hit.shape[1], {}
    for n in (configuration.paper_seeds, count):
        for rule in (True, False):
            for criterion in CRITERIA:
                for edge in EDGES:
                    k = best(table, min(n, count), rule, criterion, edge)
                    picked[table[k]["rate"], min(n, count), rule] = index[k]
    return [
        {"rate": rate, "seeds": n, "rule": rule} | _curve(found, i, n, rule)
        for (rate, n, rule), i in sorted(picked.items())
    ]


def _curve(found: chains.History, i: int, n: int, rule: bool) -> dict[str, Any]:
    curve = {}
    for which in ("train", "test"):
        values = found.stopped_curve(which) if rule else getattr(found, f"{which}_curve")
        values = values[:, i, :n]
        with np.errstate(invalid="ignore"):
            curve[which] = _numbers(values.mean(axis=1))
            curve[f"{which}_sem"] = _numbers(values.std(axis=1, ddof=1) / np.sqrt(n) if n > 1 else 0 * values[:, 0])
    return curve


def _numbers(values: Any) -> list[float | None]:
    """Floats to four digits; None for what is not finite."""
    return [float(f"{v:.4g}") if np.isfinite(v) else None for v in values]


# Reading the tables: a row of results["rows"] is one learning rate.

CRITERIA = ("loss", "steps")


def best(table: list[dict[str, Any]], n: int, rule: bool, criterion: str, edge: float = np.inf) -> int:
    """The place of the best row with α ≤ edge, by its first n seeds, with or without the plateau rule.

    By "loss", the paper's criterion: the lowest mean training loss at the end. By "steps": the fewest steps to the
    threshold on average, where a run that does not get there counts as long as the longest that may.
    """
    cap = max(row["cap"] for row in table)
    if checks.choice("criterion", criterion, CRITERIA) == "loss":
        scores = [last_losses(row, rule)[:n].mean() for row in table]
    else:
        scores = [np.where(s < 0, cap, s).mean() for s in (steps_to(row, rule)[:n] for row in table)]
    allowed = [i for i, row in enumerate(table) if row["rate"] <= edge]
    return min(allowed, key=lambda i: (scores[i], table[i]["rate"]))


def steps_to(row: dict[str, Any], rule: bool, event: str = "hit") -> np.ndarray:
    """Steps to the threshold, or to "half" of the first loss, for each seed; −1 where the run ended before."""
    steps, plateau = np.array(row[event]), np.array(row["plateau"])
    ended = rule & (plateau >= 0) & (steps > plateau)
    return np.where(ended | (steps < 0), -1, steps)


def last_losses(row: dict[str, Any], rule: bool) -> np.ndarray:
    """Training losses at the end of the runs, (seeds,); infinite where they diverged."""
    values = np.array([np.inf if v is None else v for v in row["stop_loss"]])
    if not rule:
        values[np.array(row["plateau"]) >= 0] = [np.inf if v is None else v for v in row["end_loss"]]
    return values


def recorded(activation: str, reading: str, folder: Path = records.FOLDER) -> dict[tuple[str, int], dict[str, Any]]:
    """{(method, depth): results} from the records of an activation and a reading, digests verified."""
    paths = [folder / f"{_stem(activation, reading, method)}.json" for method in chains.ALGORITHMS]
    cells = [row for path in paths for row in records.load(path)["results"]["cells"]]
    return {(row["cell"]["method"], row["cell"]["depth"]): row["results"] for row in cells}


def _stem(activation: str, reading: str, method: str) -> str:
    return f"deep-chains-{activation}-{reading}-{method.lower()}"


# What the runner asks.


def seconds(configuration: Configuration, cell: dict[str, Any]) -> float:
    """About how long a cell takes on one core."""
    return COST[cell["activation"], cell["method"]] * (1 + cell["depth"])


COST = {  # seconds for each weight of the chain
    ("linear", "BP"): 0.4,
    ("linear", "PC"): 0.4,
    ("linear", "Euler"): 0.8,
    ("relu", "BP"): 0.3,
    ("relu", "PC"): 0.4,
    ("relu", "Euler"): 0.5,
    ("tanh", "BP"): 2.0,
    ("tanh", "PC"): 3.5,
    ("tanh", "Euler"): 1.5,
}


def check(configuration: Configuration, cell: dict[str, Any], results: dict[str, Any], device: str) -> list[str]:
    """Runs the first seeds again at ordinary learning rates. Steps may differ by one in fifty, and one.

    Processors round tanh their own way, and large learning rates amplify that.
    """
    seeds = seeds_of(configuration, cell)[: configuration.paper_seeds]
    rows = [row for row in grid(configuration, cell) if row[0] == "half" and 0.1 <= row[1] <= 1]
    again, recorded = history(configuration, cell, seeds, rows), {(r["scaling"], r["rate"]): r for r in results["rows"]}
    return [
        f"{scaling}, α = {rate}: {difference}"
        for i, (scaling, rate, own, cap) in enumerate(rows)
        for difference in differences(recorded[scaling, rate], _row(again, i, scaling, rate, own, cap), len(seeds))
    ]


def differences(old: dict[str, Any], new: dict[str, Any], n: int) -> Iterator[str]:
    """In words, where the first n seeds of two rows differ by more than they may."""
    for name in ("hit", "half", "plateau"):
        a, b = np.array(old[name][:n]), np.array(new[name][:n])
        if np.any(np.sign(a) != np.sign(b)) or np.any(np.abs(a - b) > 1 + 0.02 * np.abs(a)):
            yield f"{name} {b.tolist()}, recorded {a.tolist()}"


EXPERIMENT = Experiment(
    name="deep-chains",
    about="Figs. 3 and 7: chains of 1 to 15 hidden units, BP and PC, seven learning rates, 100 seeds",
    configuration=Configuration(),
    cells=cells,
    run=run,
    seconds=seconds,
    check=check,
    record=lambda cell: _stem(cell["activation"], cell["reading"], cell["method"]),
    ranges=("depths",),
)
