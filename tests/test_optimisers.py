"""Races and directions: against plain descent, torch.optim, closed-form limits, and the record."""

import json

import numpy as np
import pytest
import torch

from pcbook import onemlp, second_order, sweep
from pcbook.experiments import directions, named, optimisers, races

SMALL = optimisers.Configuration(seeds=(0,), runs=4, tuning_runs=3, linear_cap=60, tanh_cap=40, curved_cap=20)
CHAINS = [name for name, problem in races.PROBLEMS.items() if problem.chain]


def pieces(name, seed=0, runs=6):
    problem = races.PROBLEMS[name]
    return problem, races.starts(problem, seed, runs), *next(races.batches(problem, seed, runs, condense=False))


# Problems


@pytest.mark.parametrize("name", ["1MLP", "linear chain"])
@pytest.mark.parametrize("algorithm", ["BP", "PC"])
def test_one_sample_stands_in_for_a_linear_chains_batch(name, algorithm):
    problem, theta, x, y = pieces(name)
    x_one, y_one = next(races.batches(problem, 0, 6))
    assert x_one.shape == (6, 1, 1) and x.shape == (6, 64, 1)
    full, one = (races.gradients(problem, algorithm, theta, *batch) for batch in ((x, y), (x_one, y_one)))
    torch.testing.assert_close(full, one)


@pytest.mark.parametrize("name", races.PROBLEMS)
def test_bp_gradients_are_autograds(name):
    problem, theta, x, y = pieces(name, runs=2)
    expected = second_order.gradient(theta, problem.sizes, problem.activation, x, y)
    torch.testing.assert_close(races.gradients(problem, "BP", theta, x, y), expected)


def test_pc_gradients_on_the_1mlp_are_the_closed_form():
    problem, theta, x, y = pieces("1MLP")
    found = races.gradients(problem, "PC", theta, x, y).numpy()
    w1, w2 = theta.numpy().T[..., None]
    expected = onemlp.equilibrated_energy_gradient(w1, w2, x[..., 0].numpy(), y[..., 0].numpy()).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_near_the_saddle_the_same_weights_are_smaller():
    for problem in races.PROBLEMS.values():
        far, near = (races.starts(problem, 3, 1, near=flag) for flag in (False, True))
        torch.testing.assert_close(near, problem.near * far)


def test_batches_of_the_digits_go_through_all_of_them():
    stream = races.batches(races.PROBLEMS["digits"], 0, 1, 500)
    seen = torch.cat([next(stream)[0][0] for _ in range(3)])
    assert len(torch.unique(seen, dim=0)) == len(torch.unique(races._all(races.PROBLEMS["digits"])[0], dim=0))


# Where PC and BP agree


def test_pcs_update_turns_into_bps_as_the_residual_vanishes():
    problem, theta, x, _ = pieces("linear chain", runs=40)
    out = second_order.outputs(theta, problem.sizes, problem.activation, x)
    cosines = {}
    for residual in (1.0, 1e-6):
        y = out + residual * x
        pc, bp = (races.gradients(problem, a, theta, x, y) for a in ("PC", "BP"))
        cosines[residual] = directions.cosine(pc, bp)
    assert float(cosines[1e-6].min()) > 1 - 1e-6
    assert float(cosines[1.0].mean()) < 0.95


def test_pcs_update_turns_into_bps_as_the_weights_above_vanish_or_the_lower_precision_grows():
    w = np.array([[0.7, -0.9], [1e-4, 0.5]]).T * np.ones((1, 1))
    above, precise = np.stack([w[:, 0], 1e-6 * w[:, 1]], axis=-1), w
    for weights, pi1 in ((above, 1.0), (precise, 1e8)):
        pc, bp = (onemlp.update(a, weights, 1.0, -1.0, pi1=pi1) for a in ("PC", "BP"))
        np.testing.assert_allclose(onemlp.cosine_similarity(pc, bp), 1, atol=1e-6)
    far = onemlp.cosine_similarity(*(onemlp.update(a, [0.1, 0.9], 1.0, -1.0) for a in ("PC", "BP")))
    assert far < 0.9


# Update rules


@pytest.mark.parametrize("name", races.ELEMENTWISE)
def test_elementwise_rules_are_torch_optim_at_any_rate(name):
    rng = torch.Generator().manual_seed(1)
    gradients = torch.randn(6, 2, 5, generator=rng, dtype=torch.float64)
    rule, parameter = races.Elementwise(name, gradients[0]), torch.nn.Parameter(torch.zeros(2, 5, dtype=torch.float64))
    plain, total = races.ELEMENTWISE[name]([parameter], lr=0.03), torch.zeros(2, 5, dtype=torch.float64)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        plain.step()
        total = total + 0.03 * rule(gradient)
    torch.testing.assert_close(parameter.detach(), total)


def test_adams_first_step_is_the_sign_of_the_gradient():
    gradient = torch.tensor([[3.0, -0.2, 1e-4]], dtype=torch.float64)
    torch.testing.assert_close(races.Elementwise("Adam", gradient)(gradient), -gradient.sign(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("method", ["Newton", "natural gradient"])
def test_damped_methods_at_small_rates_are_bp(method):
    problem, theta, x, y = pieces("tanh chain")
    going, rates = torch.ones(6, dtype=torch.bool), torch.full((6,), 1e-7, dtype=torch.float64)
    step, plain = (races.Rule(problem, m, rates, theta)(theta, x, y, going) for m in (method, "BP"))
    torch.testing.assert_close(step, plain, rtol=1e-5, atol=1e-14)


# Races


@pytest.mark.parametrize("method", ["BP", "PC"])
def test_a_race_counts_the_steps_of_plain_descent(method):
    problem, rates = races.PROBLEMS["1MLP"], (0.05, 0.2)
    theta = races.starts(problem, 5, 8)
    found = races.race(problem, method, rates, theta, races.batches(problem, 5, 8), cap=150)
    stream = races.batches(problem, 5, 8)
    drawn = [tuple(part[..., 0].numpy() for part in next(stream)) for _ in range(150)]
    for row, rate in enumerate(rates):
        path = onemlp.descent(method, theta.numpy(), drawn, rate)
        loss = np.stack([races.losses(problem, torch.from_numpy(w)).numpy() for w in path])
        for name, mark in (("escape", loss[0] / 2), ("converge", np.full(8, 0.01))):
            below = loss < mark
            first = np.where(below.any(axis=0), below.argmax(axis=0), -1)
            done = (loss < 0.01).any(axis=0) if name == "escape" else np.ones(8, dtype=bool)
            np.testing.assert_array_equal(found[name][row][done], first[done])


def test_a_run_that_diverges_is_never_said_to_have_converged():
    problem = races.PROBLEMS["linear chain"]
    found = races.race(problem, "momentum", (0.1, 1e3), races.starts(problem, 0, 8), races.batches(problem, 0, 8), 600)
    assert (found["converge"][1] < 0).mean() > 0.5 > (found["converge"][0] < 0).mean()


def test_rows_do_not_depend_on_their_neighbours():
    problem = races.PROBLEMS["tanh chain"]
    theta = races.starts(problem, 2, 3)
    both = races.race(problem, "PC with Adam", (0.1, 1.0), theta, races.batches(problem, 2, 3), 60)
    alone = races.race(problem, "PC with Adam", (1.0,), theta, races.batches(problem, 2, 3), 60)
    for name in both:
        np.testing.assert_array_equal(both[name][1], alone[name][0])


# Directions


def test_the_kept_updates_are_those_of_the_methods_on_that_path():
    problem, rate = races.PROBLEMS["tanh chain"], 0.3
    steps, last = directions.follow(problem, "PC", rate, 0, 3, cap=9)
    theta, stream = races.starts(problem, 0, 3), races.batches(problem, 0, 3, condense=False)
    assert last.tolist() == [9, 9, 9]  # so that the looks are at the updates 0 … 8
    velocity = torch.zeros_like(theta)
    for step in range(9):
        x, y = next(stream)
        bp, pc = (races.gradients(problem, a, theta, x, y) for a in ("BP", "PC"))
        velocity = 0.9 * velocity + bp
        torch.testing.assert_close(steps["PC"][step], -pc)
        torch.testing.assert_close(steps["momentum"][step], -velocity)
        hessian = second_order.hessian(theta, problem.sizes, "tanh", x, y)
        torch.testing.assert_close(steps["Newton, λ = 1"][step], second_order.newton(bp, hessian, 1.0))
        theta = theta - rate * pc


def test_ratios_know_a_division_by_root_v_and_a_reversed_weight():
    rng = torch.Generator().manual_seed(0)
    bp, root = (torch.randn(9, 4, 20, generator=rng, dtype=torch.float64) for _ in range(2))
    root = root.abs() + 0.1
    turned = bp.clone()
    turned[..., :5] *= -1
    found = directions.ratios({"BP": bp, "RMSProp": bp / root, "Adam": bp * root, "PC": turned / root**2})
    np.testing.assert_allclose(found["like RMSProp"]["PC"], 1)
    np.testing.assert_allclose(found["like RMSProp"]["Adam"], -1)
    np.testing.assert_allclose(found["reversed"]["PC"], 0.25)
    np.testing.assert_allclose(found["reversed"]["RMSProp"], 0)


def test_on_the_1mlp_the_natural_gradient_points_where_bp_points():
    found = directions.directions("1MLP", "BP", 0, 5, 60)
    np.testing.assert_allclose(found["training"]["natural gradient, λ = 0.1"]["BP"], 1, atol=1e-5)
    assert found["training"]["BP"]["PC"] == found["training"]["natural gradient, λ = 1"]["PC"]
    assert min(found["training"]["Newton, λ = 0.1"]["BP"]) < 0.9


# The sweep


def test_races_follow_their_grids():
    first = optimisers.cells(SMALL, [])
    assert {cell["part"] for cell in first} == {"grid", "directions"}
    grid = next(cell for cell in first if cell["problem"] == "1MLP" and cell["method"] == "Adam")
    costs = [9.0] * len(optimisers.CHAIN_RATES)
    costs[4] = 3.0
    done = [(grid, {"converge": costs, "escape": costs, "reached": [1.0] * len(costs)})]
    (new,) = [cell for cell in optimisers.cells(SMALL, done) if cell not in first]
    assert new == grid | {"part": "race", "seed": 0, "rate": optimisers.CHAIN_RATES[4]}


@pytest.mark.parametrize("method", races.METHODS)
def test_cells_run_and_repeat(method):
    cell = {"part": "grid", "problem": "tanh chain", "start": "random", "method": method, "seed": 1}
    first, second = (optimisers.run(SMALL, cell, "cpu") for _ in range(2))
    assert first == second == json.loads(json.dumps(first))
    costs = first["results"]["converge"]
    assert len(costs) == len(optimisers.CHAIN_RATES) and min(costs) < max(costs) <= optimisers.cap(SMALL, cell)
    race = optimisers.run(SMALL, cell | {"part": "race", "rate": optimisers.best_rate(cell, first["results"])}, "cpu")
    assert len(race["results"]["escape"]) == 4


def test_a_rate_that_wins_rarely_is_not_the_best():
    cell, count = {"problem": "1MLP", "method": "BP"}, len(optimisers.CHAIN_RATES)
    results = {"converge": [50.0] * count, "escape": [9.0] * count, "reached": [1.0] * count}
    results["converge"][3], results["converge"][-1], results["reached"][-1] = 40.0, 10.0, 0.4
    assert optimisers.best_rate(cell, results) == optimisers.CHAIN_RATES[3]
    results["reached"] = [0.0] * count  # where all are rare
    assert optimisers.best_rate(cell, results) == optimisers.CHAIN_RATES[-1]


def test_what_is_never_reached_counts_as_the_cap():
    assert optimisers.censored([3, -1, 0], 7).tolist() == [3, 7, 0]
    assert optimisers.mean_steps([-1, 7], 7) == 7


@pytest.mark.parametrize(("part", "method"), [("race", "Adam"), ("race", "PC"), ("grid", "BP")])
def test_the_record_repeats(part, method):
    experiment = named("optimisers")
    (record,) = (r for path, r in sweep.recorded(experiment).items() if path.stem == "optimisers")
    settings = optimisers.Configuration(**record["configuration"])
    rows = [
        row
        for row in record["results"]["cells"]
        if (row["cell"]["part"], row["cell"]["problem"], row["cell"].get("method")) == (part, "1MLP", method)
    ]
    again = optimisers.run(settings, rows[0]["cell"], "cpu")["results"]
    for name, values in rows[0]["results"].items():
        np.testing.assert_allclose(values, again[name], rtol=0.02, atol=1)
