"""Figure 4: deep and wide networks on MNIST, BP beside PC, at every learning rate and at each one's best. Torch.

Another scaling of the loss is another learning rate, so every rate here is that of the book's loss: "mean", averaged
over d outputs too, at α is the book's at 2α/d, and "sum", summed over the batch of B, is the book's at αB.
The paper leaves open whether there are biases (none here), which initialisation (PyTorch's default), how images are
normalised (mean 0, variance 1 over all pixels of the training images), and the targets (one-hot, squared error).
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcbook import data, images, inference, network, records, training
from pcbook.sweep import Experiment, differences

# The paper's rates; by decades beyond, where the best is at an edge; and in steps of 2 to 2.5 around the best.
GRIDS = ("paper", "extended", "fine")
CLASSES = 10
EARLY = 200  # losses kept one by one, from the first step on


@dataclass(frozen=True)
class Configuration:
    """Every setting of the run. Steps, rates and losses are the book's."""

    dataset: str = "mnist"  # or "fashion_mnist", or "digits", which come with scikit-learn
    hidden: int = 10
    width: int = 500
    batch: int = 64
    activations: tuple[str, ...] = ("linear", "tanh", "relu")
    rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # the paper's, of whatever scaling
    decades: int = 2  # that the grid may grow by at either end
    scalings: tuple[tuple[str, str], ...] = (("bp", "half"), ("bp", "mean"), ("pc", "half"))
    grid_epochs: int = 1
    seeds: tuple[int, ...] = (0, 1, 2)  # at the best rates; the first one for the grid
    epochs: int = 4
    rtol: float = 1e-3  # of the equilibria
    diverged: float = 50.0  # a loss that counts as infinite: a hundred times that of an output of 0
    bins: int = 25  # an epoch, of the training loss
    images: int = 60_000  # of the training images, the first so many
    looks: tuple[int, ...] = (0, 30, 100, 300)  # steps at which the test images are looked at, beside each epoch's end


def cells(configuration: Configuration, done: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[dict[str, Any]]:
    """The grids, as far as they have grown; where they are complete, their best rates with all seeds and epochs."""
    c, found = configuration, {key(cell): results for cell, results in done}
    short, long = [], []
    for activation, (method, scaling) in itertools.product(c.activations, c.scalings):
        of = activation, method, scaling
        known, wanted = grids(c, found, *of)
        short += [grid_cell(c, *of, rate) for rate in wanted]
        for rates in known.values() if len(known) == len(GRIDS) else ():
            if (best := best_rate(c, found, *of, rates)) is not None:
                long += [final_cell(c, *of, best, seed) for seed in c.seeds]
    return list({key(cell): cell for cell in [*short, *long]}.values())


def grids(
    configuration: Configuration,
    found: Mapping[tuple[tuple[str, Any], ...], dict[str, Any]],
    activation: str,
    method: str,
    scaling: str,
) -> tuple[dict[str, tuple[float, ...]], tuple[float, ...]]:
    """({name of `GRIDS`: rates} as far as all their runs are in `found`, the rates to run next or last).

    `found` maps cells, as `key` has them, to results.
    """
    c, of, rates = configuration, (activation, method, scaling), tuple(configuration.rates)

    def complete(rates: tuple[float, ...]) -> bool:
        return all(key(grid_cell(c, *of, rate)) in found for rate in rates)

    if not complete(rates):
        return {}, rates
    known = {"paper": rates}
    while (longer := _longer(c, best_rate(c, found, *of, rates), rates)) != rates:
        rates = longer
        if not complete(rates):
            return known, rates
    known["extended"] = rates
    best = best_rate(c, found, *of, rates)
    fine = rates if best is None else tuple(sorted({*rates, *(_round(best * f) for f in (0.2, 0.5, 2, 5))}))
    return known | ({"fine": fine} if complete(fine) else {}), fine


def best_rate(
    configuration: Configuration,
    found: Mapping[tuple[tuple[str, Any], ...], dict[str, Any]],
    activation: str,
    method: str,
    scaling: str,
    rates: Iterable[float],
) -> float | None:
    """The one of `rates` with the lowest training loss at the end of the grid's run, or None if all diverged."""
    ends = {rate: found[key(grid_cell(configuration, activation, method, scaling, rate))]["last"] for rate in rates}
    ends = {rate: last for rate, last in ends.items() if last is not None}
    return min(ends, key=ends.__getitem__) if ends else None


def effective(configuration: Configuration, scaling: str, rate: float) -> float:
    """The rate of the book's loss that does what `rate` does for a scaled one, rounded to 6 digits."""
    return _round(rate * training.SCALINGS[scaling](configuration.batch, CLASSES))


def _longer(c: Configuration, best: float | None, rates: tuple[float, ...]) -> tuple[float, ...]:
    """The rates with one decade more where the best is at an edge that may still move."""
    above, below = _round(max(rates) * 10), _round(min(rates) / 10)
    if best == max(rates) and above <= max(c.rates) * 10**c.decades * 1.1:
        return (*rates, above)
    if best == min(rates) and below >= min(c.rates) / 10**c.decades / 1.1:
        return (below, *rates)
    return rates


def grid_cell(configuration: Configuration, activation: str, method: str, scaling: str, rate: float) -> dict[str, Any]:
    """The run of a grid at a rate of the scaled loss."""
    c, rate = configuration, effective(configuration, scaling, rate)
    return {"activation": activation, "method": method, "rate": rate, "seed": c.seeds[0], "epochs": c.grid_epochs}


def final_cell(
    configuration: Configuration, activation: str, method: str, scaling: str, rate: float, seed: int
) -> dict[str, Any]:
    """The run with all epochs at a rate of the scaled loss."""
    cell = grid_cell(configuration, activation, method, scaling, rate)
    return cell | {"seed": seed, "epochs": configuration.epochs}


def key(cell: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """A cell as a key."""
    return tuple(sorted(cell.items()))


def run(configuration: Configuration, cell: dict[str, Any], device: str) -> dict[str, Any]:
    """Train one network; its losses, per step at first and then averaged, and what it makes of the test images."""
    return _summary(configuration, *_train(configuration, cell, device))


def _train(
    c: Configuration, cell: dict[str, Any], device: str, steps: int | None = None
) -> tuple[training.History, int]:
    """(History, batches per epoch) of a cell, or of its first steps."""
    x, y, test_x, test_y = (part.to(device) for part in _dataset(c.dataset, c.images))
    epoch = -(-len(x) // c.batch)
    net = _network(c, cell, x, y, device)
    looks = {*c.looks, *range(epoch, cell["epochs"] * epoch + 1, epoch)} if steps is None else ()

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for k in range(cell["epochs"]):
            for rows in _orders(len(x), c.batch, cell["seed"], k):
                yield x[rows], y[rows]

    def evaluate(step: int) -> dict[str, Any] | None:
        return _look(c, net, cell["method"], test_x, test_y) if step in looks else None

    rules = (training.Plateau(epoch, stop=False), training.Diverged(c.diverged))
    given = itertools.islice(batches(), steps)
    history = training.train(net, given, cell["method"], cell["rate"], rules=rules, rtol=c.rtol, evaluate=evaluate)
    return history, epoch


def _network(c: Configuration, cell: dict[str, Any], x: Tensor, y: Tensor, device: str) -> network.PCN:
    sizes = [x.shape[1], *[c.width] * c.hidden, y.shape[1]]
    return network.PCN(network.init_weights(sizes, cell["seed"]), cell["activation"]).to(device)


def _orders(count: int, size: int, seed: int, epoch: int) -> Iterator[Tensor]:
    """The rows of each mini-batch of an epoch."""
    rows = np.arange(count)
    return (torch.from_numpy(chosen) for chosen, _ in data.batches(rows, rows, size, (seed, epoch)))


def _look(c: Configuration, net: network.PCN, method: str, x: Tensor, y: Tensor) -> dict[str, Any] | None:
    """Loss and accuracy on the test images; for PC, also the share of 64 of them whose equilibrium is one."""
    output = network.forward(net, x)[-1]
    if not bool(torch.isfinite(output).all()):
        return None
    row = {
        "loss": _round(float((y - output).double().square().sum() / 2 / len(y))),
        "accuracy": float((output.argmax(1) == y.argmax(1)).double().mean()),
    }
    if method == "pc":
        found = inference.solve(net, x[: c.batch], y[: c.batch], rtol=c.rtol)
        row["converged"] = float(found.converged.double().mean())
    return row


def _summary(c: Configuration, history: training.History, epoch: int) -> dict[str, Any]:
    """A history as JSON: `loss[i]` is the mean training loss of the steps before `steps[i]`, from `steps[i − 1]` on."""
    loss = history.loss[np.isfinite(history.loss)]
    edges = np.unique(np.r_[np.arange(0, len(loss), max(epoch // c.bins, 1)), len(loss)])
    full = len(loss) // epoch
    tail = max(epoch // 10, 1)
    results = {
        "early": [_round(v) for v in loss[:EARLY]],
        "steps": edges[1:].tolist(),
        "loss": _means(loss, edges),
        "epoch_loss": _means(loss, np.arange(full + 1) * epoch),
        "last": _round(loss[-tail:].mean()) if history.end == "batches" else None,
        "updates": len(history.loss),
        "escape": history.escape,
        "iterations": _round(history.iterations.mean()),
        "tests": [{k: v for k, v in row.items() if k not in ("seconds", "cpu")} for row in history.evaluations],
        "stops": history.stops,
        "end": history.end,
    }
    at = edges[1:] - 1
    timing = {
        "training_seconds": round(float(history.seconds[-1]), 3),
        "cpu": [round(float(v), 2) for v in history.cpu[at]],
        "wall": [round(float(v), 2) for v in history.seconds[at]],
    }
    return {"results": results, "timing": timing}


def _means(values: np.ndarray, edges: Iterable[int] | np.ndarray) -> list[float]:
    return [_round(values[a:b].mean()) for a, b in itertools.pairwise(edges)]


def _round(value: float) -> float:
    """Six significant digits: what float32 has."""
    return float(f"{value:.6g}")


STEPS, TOLERANCE = 40, 0.02


def check(configuration: Configuration, cell: dict[str, Any], results: dict[str, Any], device: str) -> list[str]:
    """The first `STEPS` losses again: each within `TOLERANCE` of what is recorded, as long as they do not grow.

    Another processor or solver version rounds otherwise, and a network that diverges magnifies that.
    """
    recorded = results["early"][:STEPS]
    grows = next((k for k, v in enumerate(recorded) if v > 2 * recorded[0]), len(recorded))
    history, _ = _train(configuration, cell, device, steps=len(recorded))
    return differences(recorded[:grows], history.loss.tolist()[:grows], rtol=TOLERANCE, where="results.early")


def seconds(configuration: Configuration, cell: dict[str, Any]) -> float:
    """Measured on one core of a server processor, 2.5 GHz or so, on the paper's network."""
    c = configuration
    size = c.hidden * c.width**2 + (784 + CLASSES) * c.width
    passes = {"bp": 1.0, "pc": {"linear": 0.7, "tanh": 1.8}.get(cell["activation"], 6.5)}[cell["method"]]
    return 0.016 * size / 2.9e6 * passes * cell["epochs"] * -(-c.images // c.batch)


@functools.cache
def _dataset(name: str, count: int) -> tuple[Tensor, ...]:
    """Training inputs and targets, test inputs and targets: float32 tensors."""
    train, test = data.digits() if name == "digits" else data.mnist(name=name)
    parts = (
        (data.standardised(part.images[:n], train.images), data.one_hot(part.labels[:n]))
        for part, n in ((train, count), (test, None))
    )
    return tuple(torch.from_numpy(array) for pair in parts for array in pair)


def digests(configuration: Configuration) -> dict[str, str]:
    """{file: SHA-256} of the images and labels, which `data.mnist` holds every file to."""
    if configuration.dataset == "digits":
        return {"digits": records.digest_of(*itertools.chain(*data.digits()))}
    source = images.SOURCES[configuration.dataset]
    return {f"{configuration.dataset} {file}": digest for file, (digest, _) in source.digests.items()}


EXPERIMENT = Experiment(
    name="deep-wide",
    about="Figure 4: networks 10 × 500 on MNIST, BP and PC at equilibrium, with the rates' grid",
    configuration=Configuration(),
    cells=cells,
    run=run,
    seconds=seconds,
    data=digests,
    check=check,
    record=lambda cell: f"deep-wide-{cell['activation']}",
    ranges=("seeds", "epochs", "activations", "rates", "decades", "scalings"),
)
