"""The same seed gives the same numbers: bit for bit at a number of threads, within a stated tolerance otherwise.

A cheap cell of every recorded experiment runs in processes of their own, so that neither the order of hashes nor what
ran before can help. Across numbers of threads the tolerance is the one to which `verify` holds a record.
"""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch
from oracles import LEAST_SLOPE, SMOOTH, distance, problem

from pcbook import inference, network
from pcbook.experiments import EXPERIMENTS, named

SMALL = {
    "deep-chains": dict(
        seeds=(0, 1, 2, 3),
        depths=(3,),
        caps=(("tanh", "PC", -2, 2, 100, 50),),
        points=6,
    ),
    "deep-wide": dict(dataset="digits", hidden=2, width=20, images=640, epochs=2, seeds=(0,), bins=5, looks=(0, 3)),
    "optimisers": dict(seeds=(0,), runs=4, tuning_runs=3, linear_cap=60, tanh_cap=40, digits_cap=20, curved_cap=20),
    "batch-sizes": dict(seeds=(0,), runs=4, tuning_runs=3),
}
CELLS = {
    "deep-chains": {"activation": "tanh", "reading": "deviation", "method": "PC", "depth": 3},
    "deep-wide": {"activation": "relu", "method": "pc", "rate": 0.1, "seed": 0, "epochs": 2},
    "optimisers": {"part": "directions", "problem": "tanh chain", "path": "PC", "seed": 0},
    "batch-sizes": {"part": "grid", "problem": "tanh, L = 1", "size": 64, "algorithm": "PC", "seed": 1000},
}


def small(name):
    return named(name), dataclasses.replace(named(name).configuration, **SMALL[name])


def run_all(threads):
    """{experiment: results} from a process with so many threads."""
    code = "import test_determinism as t, json; print(json.dumps(t.results()))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["tests", ".", os.environ.get("PYTHONPATH", "")])}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def results():
    """The same in this process."""
    runs = ((name, *small(name)) for name in CELLS)
    return {name: experiment.run(c, CELLS[name], "cpu")["results"] for name, experiment, c in runs}


@pytest.fixture(scope="module")
def once():
    return run_all(threads=1)


def test_every_experiment_has_a_cheap_cell():
    assert CELLS.keys() == SMALL.keys() == EXPERIMENTS.keys()


@pytest.mark.slow
def test_a_second_process_gives_the_same_bit_for_bit(once):
    assert run_all(threads=1) == once


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_two_threads_give_the_same_to_the_records_tolerance(once, name):
    experiment, configuration = small(name)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert experiment.check(configuration, CELLS[name], once[name], "cpu") == []
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("activation", [*SMOOTH, *LEAST_SLOPE])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_the_order_of_sums_changes_rounding_only(activation, dtype, tolerance):
    """Samples in another order, and units of every hidden layer in another order: the same equilibrium."""
    net, x, y = problem(3, activation, 4, 20, 6, True, "vectors")
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(n, generator=generator) for n in net.sizes[1:-1]]
    orders = [torch.arange(net.sizes[0]), *orders, torch.arange(net.sizes[-1])]
    moved = network.PCN(
        [w[above][:, below] for w, below, above in zip(net.weights, orders, orders[1:], strict=False)],
        activation,
        *([v[order] for v, order in zip(part, orders[1:], strict=True)] for part in (net.biases, net.precisions)),
    )
    rows = torch.randperm(len(x), generator=generator)
    plain = inference.solve(net.to(dtype), x.to(dtype), y.to(dtype), rtol=tolerance / 10)
    other = inference.solve(moved.to(dtype), x[rows].to(dtype), y[rows].to(dtype), rtol=tolerance / 10)
    expected = [z[rows][:, order] for z, order in zip(plain.activities, orders[1:-1], strict=True)]
    assert distance(other.activities, expected) < 10 * tolerance
    pairs = zip(plain.weight_gradients(), orders, orders[1:], strict=False)
    assert distance(other.weight_gradients(), [g[above][:, below] for g, below, above in pairs]) < 10 * tolerance
