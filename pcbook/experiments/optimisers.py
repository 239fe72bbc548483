"""PC among the optimisers (T7): races at each method's own best rate, and angles between updates at the same weights.

"grid" cells find the best rate on starts of their own; "race" cells then run fresh starts at it. "directions" cells
follow BP's or PC's path and compare, at the same weights and batches, PC's and BP's update with every other method's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pcbook import records, sweep
from pcbook.experiments import inference_cost, races
from pcbook.experiments.directions import directions, rounded
from pcbook.sweep import Experiment

STARTS = ("random", "near the saddle")
CURVED = ("Newton", "natural gradient")
CHAIN_RATES = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-6, 7))
PLAIN, ADAPTIVE = CHAIN_RATES[4:8], CHAIN_RATES[:6]  # on the digits: around the best of a wider trial
DIGITS_RATES = {
    "BP": PLAIN,
    "PC": PLAIN,
    "momentum": CHAIN_RATES[3:7],
    "natural gradient": (1.0, 10.0, 31.6, 100.0, 1e3),
}
DIGITS_RATES |= dict.fromkeys(("RMSProp", "Adam", "PC with Adam"), ADAPTIVE) | {"Newton": (0.316, 1.0, 3.16)}


@dataclass(frozen=True)
class Configuration:
    """`runs` starts of a chain for each seed and one network for the digits; the updates that a run may take.

    What is small, so that all of it takes some ten minutes on one core: a digits network of width 12, six seeds of it,
    and few updates for Newton and natural gradient, whose updates are the dearest.
    """

    seeds: tuple[int, ...] = tuple(range(6))
    runs: int = 40
    tuning_seed: int = 1000  # of the starts that choose the rates
    tuning_runs: int = 16
    linear_cap: int = 1500
    tanh_cap: int = 600
    digits_cap: int = 600
    curved_cap: int = 200  # for Newton and natural gradient
    digits_curved_cap: int = 50
    every: int = 5  # updates between looks at the digits' loss


def rates(problem: str, method: str) -> tuple[float, ...]:
    """The grid, from low to high; for Newton and natural gradient 1/λ."""
    return CHAIN_RATES if races.PROBLEMS[problem].chain else DIGITS_RATES[method]


def cells(configuration: Configuration, done: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[dict[str, Any]]:
    """All grids and directions first; a race once its grid is known."""
    grids = [
        {"part": "grid", "problem": problem, "start": start, "method": method, "seed": configuration.tuning_seed}
        for problem in races.PROBLEMS
        for start in STARTS
        for method in races.METHODS
    ]
    paths = [
        {"part": "directions", "problem": problem, "path": path, "seed": seed}
        for problem in races.PROBLEMS
        for path in ("BP", "PC")
        for seed in configuration.seeds
    ]
    found = [(cell, best_rate(cell, results)) for cell, results in done if cell["part"] == "grid"]
    fresh = [
        cell | {"part": "race", "seed": seed, "rate": rate} for cell, rate in found for seed in configuration.seeds
    ]
    return grids + paths + fresh


def best_rate(cell: dict[str, Any], results: dict[str, Any]) -> float:
    """The `best_of` the rates of a grid's cell."""
    return best_of(rates(cell["problem"], cell["method"]), results)


def best_of(rates: Sequence[float], results: dict[str, Any]) -> float:
    """The rate whose runs converge first, by the geometric mean, among those at which at least half of them do.

    Between equals it is the one that escapes first. (A rate that is too large may win quickly, and rarely.)
    """
    rare = [share < 0.5 for share in results["reached"]]
    costs = list(zip(rare, results["converge"], results["escape"], strict=True))
    return rates[costs.index(min(costs))]


def run(configuration: Configuration, cell: dict[str, Any], device: str) -> dict[str, Any]:
    """A cell's results. Always on the processor: the matrices are small."""
    measure = {"grid": grid, "race": race, "directions": compare}[cell["part"]]
    return {"results": measure(configuration, cell), "timing": {}}


def grid(configuration: Configuration, cell: dict[str, Any]) -> dict[str, Any]:
    """For each rate: geometric means of the steps (what is not reached counts as the cap), and the share converged."""
    steps, limit = _race(configuration, cell, rates(cell["problem"], cell["method"])), cap(configuration, cell)
    means = {name: [mean_steps(row, limit) for row in found] for name, found in steps.items()}
    return means | {"reached": rounded((steps["converge"] >= 0).mean(axis=1))}


def race(configuration: Configuration, cell: dict[str, Any]) -> dict[str, Any]:
    """Steps of every run at the cell's rate, −1 for never: {"escape": [...], "converge": [...]}."""
    return {name: found[0].tolist() for name, found in _race(configuration, cell, (cell["rate"],)).items()}


def compare(configuration: Configuration, cell: dict[str, Any]) -> dict[str, Any]:
    return directions(cell["problem"], cell["path"], cell["seed"], _runs(configuration, cell), cap(configuration, cell))


def cap(configuration: Configuration, cell: dict[str, Any]) -> int:
    """The updates that a cell's runs may take."""
    curved = cell.get("method") in CURVED
    if cell["problem"] == "digits":
        return configuration.digits_curved_cap if curved else configuration.digits_cap
    if curved:
        return configuration.curved_cap
    return configuration.tanh_cap if cell["problem"] == "tanh chain" else configuration.linear_cap


def censored(steps: ArrayLike, cap: int) -> np.ndarray:
    """Steps with "never", −1, counted as the cap."""
    steps = np.asarray(steps)
    return np.where(steps < 0, cap, steps)


def mean_steps(steps: ArrayLike, cap: int) -> float:
    """The geometric mean of 1 + steps, less 1."""
    return float(rounded(np.expm1(np.log1p(censored(steps, cap)).mean()), 2))


def check(configuration: Configuration, cell: dict[str, Any], results: dict[str, Any], device: str) -> list[str]:
    """Where a cell run again differs by more than another processor's rounding explains.

    At large rates single runs are chaotic. So of a race the mean steps are compared, of a grid those at its best rate.
    """
    if cell["part"] == "directions":
        return sweep.differences(results, compare(configuration, cell), atol=0.01, rtol=0.01)
    best = rates(cell["problem"], cell["method"]).index(best_rate(cell, results)) if cell["part"] == "grid" else None
    return differing(results, run(configuration, cell, device)["results"], best, cap(configuration, cell))


def differing(results: dict[str, Any], again: dict[str, Any], best: int | None, cap: int) -> list[str]:
    """Sentences on mean steps that differ by more than a tenth: of a race, or (`best` is an index) of a grid."""
    found = []
    for part in (results, again):
        marks = {name: part[name] for name in ("escape", "converge")}
        found.append({n: mean_steps(v, cap) if best is None else v[best] for n, v in marks.items()})
    recorded, now = found
    return sweep.differences(recorded, now, rtol=0.1, atol=1)


def _race(configuration: Configuration, cell: dict[str, Any], rates: Sequence[float]) -> dict[str, np.ndarray]:
    problem, runs = races.PROBLEMS[cell["problem"]], _runs(configuration, cell)
    theta = races.starts(problem, cell["seed"], runs, near=cell["start"] == STARTS[1])
    every = 1 if problem.chain or cell["method"] in CURVED else configuration.every
    stream = races.batches(problem, cell["seed"], runs)
    return races.race(problem, cell["method"], rates, theta, stream, cap(configuration, cell), every)


def _runs(configuration: Configuration, cell: dict[str, Any]) -> int:
    if not races.PROBLEMS[cell["problem"]].chain:
        return 1
    return configuration.tuning_runs if cell["part"] == "grid" else configuration.runs


def seconds(configuration: Configuration, cell: dict[str, Any]) -> float:
    """Rough seconds on one core of 2024: by problem and part, more for methods that solve something."""
    chain = races.PROBLEMS[cell["problem"]].chain
    if cell["part"] == "directions":
        return 2.0 if chain else 10.0
    slow = {"Newton": 2.0 if chain else 20.0, "natural gradient": 3.0, "PC": 3.0, "PC with Adam": 3.0}
    return (1.5 if cell["part"] == "grid" else 0.5) * slow.get(cell["method"], 1.0)


def data(configuration: object) -> dict[str, str]:
    """The digits' digest."""
    return {"digits": records.digest_of(*(part.numpy() for part in inference_cost.batch(races.DIGITS)))}


EXPERIMENT = Experiment(
    name="optimisers",
    about="PC among momentum, Adam, RMSProp, Newton and natural gradient: races, and angles between their updates",
    configuration=Configuration(),
    cells=cells,
    run=run,
    seconds=seconds,
    data=data,
    check=check,
    record=lambda cell: "optimisers-directions" if cell["part"] == "directions" else "optimisers",
)
