"""PC and BP at batch sizes from 1 to 512 (T8): steps to half of the first loss and to convergence, and angles.

"grid" cells find each algorithm's best rate at each batch size, on starts of their own. "race" cells run fresh starts:
both algorithms at their own best rate, and PC at BP's best rate too. "angles" cells compare updates on the digits.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pcbook import second_order, sweep
from pcbook.experiments import directions, optimisers, races
from pcbook.experiments.directions import rounded
from pcbook.sweep import Experiment

PROBLEMS = {f"{kind}, L = {hidden}": races.chain(hidden, kind) for kind in ("linear", "tanh") for hidden in (1, 5, 10)}
PROBLEMS["digits"] = races.PROBLEMS["digits"]
ALGORITHMS = ("BP", "PC")
POWERS = tuple(2**k for k in range(10))
FEWER = (1, 4, 16, 64, 256, 512)
SIZES = {problem: POWERS if problem.endswith("L = 1") else FEWER for problem in PROBLEMS}  # all where it is cheap
HALVES = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-3, 4))  # around the best of a wider trial
RATES = {"tanh": HALVES[1:], "digits": HALVES[:5], "linear": HALVES[1:]}
CAPS = {"linear": 2000, "tanh": 400, "digits": 600}
LOOKS = (0, 50, 200)  # PC's updates after which angles are measured
ANGLE_SIZES = (1, 4, 16, 64, 256)
PAIRS = {
    "PC and BP": ("PC", "BP"),
    "PC and natural gradient": ("PC", "natural"),
    "BP and natural gradient": ("BP", "natural"),
}


@dataclass(frozen=True)
class Configuration:
    """For each seed `runs` starts of a chain, and one network for the digits.

    What is small, so that all of it takes some ten minutes on one core: six of the ten sizes on deep chains and digits,
    one network a seed on the digits, and grids of six rates, half a decade apart.
    """

    seeds: tuple[int, ...] = tuple(range(5))
    runs: int = 20
    tuning_seed: int = 1000  # of the starts that choose the rates
    tuning_runs: int = 12
    damping: float = 1.0  # of the natural gradient


def sizes(problem: str) -> tuple[int, ...]:
    return SIZES[problem]


def rates(problem: str) -> tuple[float, ...]:
    return RATES[problem.split(",")[0]]


def cap(problem: str, size: int) -> int:
    """The steps that a run may take; on the digits more where a step sees little."""
    steps = CAPS[problem.split(",")[0]]
    return steps if PROBLEMS[problem].chain else round(steps * max(1.0, 8 / size**0.5))


def every(problem: str, size: int) -> int:
    """The steps between two looks at the loss."""
    return 1 if PROBLEMS[problem].chain else cap(problem, size) // 120


def cells(configuration: Configuration, done: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[dict[str, Any]]:
    """All grids and angles first; the races of a problem and size once both its grids are known."""
    places = [{"problem": problem, "size": size} for problem in PROBLEMS for size in sizes(problem)]
    grids = [
        {"part": "grid", **place, "algorithm": a, "seed": configuration.tuning_seed}
        for place in places
        for a in ALGORITHMS
    ]
    angles = [{"part": "angles", "problem": "digits", "seed": seed} for seed in configuration.seeds]
    best = {(c["problem"], c["size"], c["algorithm"]): best_rate(c, r) for c, r in done if c["part"] == "grid"}
    fresh = []
    for place in places:
        own = [best.get((place["problem"], place["size"], a)) for a in ALGORITHMS]
        if None not in own:
            entries = dict.fromkeys([("BP", own[0]), ("PC", own[1]), ("PC", own[0])])  # once if the rates are one
            fresh += [
                {"part": "race", **place, "algorithm": a, "rate": rate, "seed": seed}
                for a, rate in entries
                for seed in configuration.seeds
            ]
    return grids + angles + fresh


def best_rate(cell: dict[str, Any], results: dict[str, Any]) -> float:
    """The `optimisers.best_of` the rates of a grid's cell."""
    return optimisers.best_of(rates(cell["problem"]), results)


def run(configuration: Configuration, cell: dict[str, Any], device: str) -> dict[str, Any]:
    """A cell's results. Always on the processor: the matrices are small."""
    if cell["part"] == "angles":
        return {"results": angles(configuration, cell["seed"]), "timing": {}}
    problem, tuning = PROBLEMS[cell["problem"]], cell["part"] == "grid"
    runs = (configuration.tuning_runs if tuning else configuration.runs) if problem.chain else 1
    tried = rates(cell["problem"]) if tuning else (cell["rate"],)
    theta, stream = races.starts(problem, cell["seed"], runs), races.batches(problem, cell["seed"], runs, cell["size"])
    where = cell["problem"], cell["size"]
    steps = races.race(problem, cell["algorithm"], tried, theta, stream, cap(*where), every(*where))
    if not tuning:
        return {"results": {name: found[0].tolist() for name, found in steps.items()}, "timing": {}}
    means = {name: [optimisers.mean_steps(row, cap(*where)) for row in found] for name, found in steps.items()}
    return {"results": means | {"reached": rounded((steps["converge"] >= 0).mean(axis=1))}, "timing": {}}


def angles(configuration: Configuration, seed: int, draws: int = 64) -> dict[str, list[float]]:
    """Mean cosine of each of `PAIRS` at each of `ANGLE_SIZES`, over `LOOKS` on PC's path: {pair: [...]}.

    At small sizes each look is a mean over several batches, `draws` samples in all.
    """
    problem = races.PROBLEMS["digits"]
    found: dict[str, list[float]] = {pair: [] for pair in PAIRS}
    theta, stream, path = races.starts(problem, seed, 1), races.batches(problem, seed, 1), []
    for step in range(LOOKS[-1] + 1):
        path += [theta] if step in LOOKS else []
        theta = theta - directions.PATH_RATES["digits"] * races.gradients(problem, "PC", theta, *next(stream))
    for size in ANGLE_SIZES:
        batches = races.batches(problem, seed, 1, size)
        cosines = [
            updates_cosines(problem, at, *next(batches), configuration.damping)
            for at in path
            for _ in range(max(1, draws // size))
        ]
        for pair, values in found.items():
            values.append(float(rounded(sum(c[pair] for c in cosines) / len(cosines))))
    return found


def updates_cosines(problem: races.Problem, theta: Tensor, x: Tensor, y: Tensor, damping: float) -> dict[str, float]:
    """{pair: cosine} of PC's, BP's and the natural gradient's updates on one batch."""
    of = problem.sizes, problem.activation
    step = {a: -races.gradients(problem, a, theta, x, y) for a in ALGORITHMS}
    jacobian, residual = second_order.jacobian(theta, *of, x), y - second_order.outputs(theta, *of, x)
    step["natural"] = second_order.natural(jacobian, residual, damping)
    return {pair: directions.cosine(step[a], step[b]).item() for pair, (a, b) in PAIRS.items()}


def seconds(configuration: Configuration, cell: dict[str, Any]) -> float:
    """Rough seconds on one core of 2024: PC solves an equilibrium for every sample of a tanh network."""
    if cell["part"] == "angles":
        return 15.0
    problem, size = PROBLEMS[cell["problem"]], cell["size"]
    share = 1.0 if cell["part"] == "grid" else 0.2
    if problem.activation == "linear":
        return 1.5 * share
    solve = 6.0 if cell["algorithm"] == "PC" else 1.0
    if problem.chain:
        return share * solve * (0.2 + size / 512 * cap(cell["problem"], size) * len(problem.sizes) / 1000)
    return share * solve * cap(cell["problem"], size) / 400


def check(configuration: Configuration, cell: dict[str, Any], results: dict[str, Any], device: str) -> list[str]:
    """As `optimisers.check`."""
    again = run(configuration, cell, device)["results"]
    if cell["part"] == "angles":
        return sweep.differences(results, again, atol=0.01)
    best = rates(cell["problem"]).index(best_rate(cell, results)) if cell["part"] == "grid" else None
    return optimisers.differing(results, again, best, cap(cell["problem"], cell["size"]))


EXPERIMENT = Experiment(
    name="batch-sizes",
    about="PC and BP at batch sizes 1 … 512 on chains and digits, at equal and at each one's best learning rate",
    configuration=Configuration(),
    cells=cells,
    run=run,
    seconds=seconds,
    data=optimisers.data,
    check=check,
)
