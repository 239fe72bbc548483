"""Verdicts on what inference costs (B4, T3) and on whether a thousand steps are enough (T4).

Prices in time come from the recorded benchmarks, which other machines would not repeat to the digit. Beside them stand
multiplications, counted now: no clock is read here.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pcbook import inference, linear_theory, network
from pcbook.experiments import inference_cost
from pcbook.experiments.inference_cost import recorded
from pcbook.verdicts import Verdict, measured

ACTIVATIONS = ("linear", "tanh", "relu")
FEW, TEN, ORDERS = 5, 10, 100  # BP steps: "a few", one order of magnitude, "orders of magnitude"
ASKED = {"linear": 0.8, "tanh": 2.5, "relu": 8.0}  # what this book set out to reach, in BP steps …
LEFT = {"linear": 1e-3, "tanh": 1e-3, "relu": 1e-2}  # … and in the weight gradients' relative error
ENOUGH = 0.01  # the weight gradients' relative error that counts as sufficient inference
STEPS = 1000  # the paper's T
PAPER = [784, *[500] * 10, 10]  # its network

Row = Mapping[str, Any]  # of a recorded benchmark


def judge_affordable(seed: int) -> Verdict:
    """B4: does the equilibrium cost a few backward passes?"""
    results, rows = (recorded(name)["results"] for name in ("inference-cost", "inference-scaling"))
    rows = rows["rows"]
    price, counted = _training(results), {a: _counted(a, seed) for a in ACTIVATIONS}
    error = {
        a: _largest(row.get("error") for row in results["training"] if row["activation"] == a) for a in ACTIVATIONS
    }
    smooth = [row for row in rows if row["activation"] != "relu" and row.get("ratio")]
    worst = {axis: max(row["ratio"] for row in smooth if row["axis"] == axis) for axis in _axes(rows)}
    listed = "; ".join(
        f"{a} {_spread(price[a])} BP steps, error at most {error[a]:.1g}, {counted[a]:.2g} in multiplications at "
        "initialisation"
        for a in ACTIVATIONS
    )
    sizes = ", ".join(f"{value:.2g} ({axis})" for axis, value in worst.items())
    return measured(
        f"Recorded medians and ranges over an epoch of training: {listed}. Dearest linear or tanh "
        f"network as one size varies: {sizes}.",
        **{f"{a}: at most {FEW} BP steps as a rule (recorded)": statistics.median(price[a]) <= FEW for a in price},
        **{"linear: fewer multiplications than BP": counted["linear"] < 1},
        **{f"tanh: at most {FEW} BP steps of multiplications": counted["tanh"] <= FEW},
        **{
            f"{a}: at most {ASKED[a]:g} BP steps at every checkpoint (recorded)": max(price[a]) <= ASKED[a]
            for a in price
        },
        **{f"{a}: weight gradients within {LEFT[a]:g} (recorded)": error[a] <= LEFT[a] for a in error},
        **{f"linear and tanh at any {axis} (recorded)": value <= FEW for axis, value in worst.items()},
    )


def judge_expensive(seed: int) -> Verdict:
    """T3: is PC's inference orders of magnitude more expensive than BP?"""
    results = recorded("inference-cost")["results"]
    euler = [row["ratio"] for row in results["steps"] if _is_euler(row)]
    price, net = _training(results), _paper_net("tanh", seed)
    counted = inference_cost.euler_passes(*net, STEPS)
    solved = "; ".join(f"{a} {_spread(price[a])}" for a in ACTIVATIONS)
    return measured(
        f"With {STEPS} Euler steps a weight update's gradients cost {_spread(euler)} BP steps of time (recorded, three "
        f"activations, at initialisation and after training), and {counted:.0f} of multiplications. The equilibrium by "
        f"this book's solver, recorded over an epoch of training: {solved}.",
        **{
            f"the paper's schedule: over {ORDERS} BP steps (recorded)": min(euler) > ORDERS,
            f"the paper's schedule: over {ORDERS} BP steps (multiplications)": counted > ORDERS,
        },
        **{f"inherent in {a} networks: over {TEN} however solved": statistics.median(price[a]) > TEN for a in price},
    )


def judge_sufficient(seed: int, depth: int = 10, deep: int = 30, width: int = 50, size: int = 8) -> Verdict:
    """T4: do a thousand steps leave the weight gradients where the equilibrium has them?"""
    (x, y), error, rest = inference_cost.batch(size, 100 * seed), {}, {}
    for activation in ACTIVATIONS:
        net = inference_cost.digits_net(activation, seed, depth, width)
        euler = inference.solve(net, x, y, "euler", max_iterations=STEPS)
        error[activation] = inference_cost.weight_error(
            euler.weight_gradients(), inference.solve(net, x, y).weight_gradients()
        )
        rest[activation] = float(euler.residuals.median())
    net = linear_theory.random_net([*[20] * (deep + 1), 10], torch.Generator().manual_seed(seed), "orthogonal")
    z = inference_cost.linear_euler(net, x[:, :20], y, STEPS)
    exact = inference.solve(net, x[:, :20], y).weight_gradients()
    far = inference_cost.weight_error(network.weight_gradients(net, z, x[:, :20], y), exact)
    full = recorded("inference-cost")
    rows = [row for row in full["results"]["steps"] if _is_euler(row) and row.get("error")]
    found = {a: [row["error"] for row in rows if row["activation"] == a] for a in error}
    small = "; ".join(f"{a} {error[a]:.1g} (recorded: {_spread(found[a])})" for a in error)
    return measured(
        f"Relative error of the weight gradients after {STEPS} Euler steps in {depth} hidden layers of {width} units, "
        f"and recorded for sizes {full['configuration']['sizes']}: {small}. The small ReLU net's samples are "
        f"{rest['relu']:.1g} from rest (median). With {deep} layers of orthogonal weights: {far:.1g}.",
        **{f"{a}: within 1 % of the equilibrium's": error[a] <= ENOUGH for a in error},
        **{"at three times the depth, if signals keep their size (our test)": far <= ENOUGH},
    )


def _training(results: Mapping[str, Any]) -> dict[str, list[float]]:
    """{activation: prices over the checkpoints of training}, in BP steps, full batches without a warm start."""
    rows = [row for row in results["training"] if row.get("ratio") is not None and row["method"] == "auto"]
    rows = [row for row in rows if row["samples"] == max(other["samples"] for other in rows)]
    return {a: [row["ratio"] for row in rows if row["activation"] == a] for a in ACTIVATIONS}


def _largest(values: Iterable[float | None]) -> float:
    return max(v for v in values if v is not None)


def _is_euler(row: Row) -> bool:
    return row["library"] == "pcbook" and row["method"].startswith(f"Euler, {STEPS}") and row.get("ratio") is not None


def _axes(rows: Iterable[Row]) -> Iterable[str]:
    return dict.fromkeys(row["axis"] for row in rows)


def _paper_net(activation: str, seed: int, batch: int = 64) -> tuple[network.PCN, Tensor, Tensor]:
    """The paper's network at its initialisation, float32, with a random batch of the shape of MNIST's."""
    generator = torch.Generator().manual_seed(seed)
    net = network.PCN(network.init_weights(PAPER, generator), activation)
    y = torch.eye(PAPER[-1])[torch.randint(PAPER[-1], (batch,), generator=generator)]
    return net, torch.randn(batch, PAPER[0], generator=generator), y


def _counted(activation: str, seed: int) -> float:
    """The multiplications of a step of PC, in BP steps."""
    return inference_cost.passes(inference_cost.pc_step, *_paper_net(activation, seed))


def _spread(values: Sequence[float]) -> str:
    """Median and range in words."""
    middle, low, high = (
        f"{v:.0f}" if v >= 100 else f"{v:.2g}" for v in (statistics.median(values), min(values), max(values))
    )
    return f"{middle} [{low}, {high}]"
