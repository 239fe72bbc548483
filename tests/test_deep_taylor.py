"""The experiment on the Taylor model says what it measures, and each part of its verdicts can fail."""

import numpy as np
import pytest
import torch

from pcbook import inference, network, taylor, verdicts, verdicts_taylor
from pcbook.experiments import deep_taylor

STEP, PRINTED, FIXED = deep_taylor.NAMES


def test_problems_are_what_they_say():
    one, again, other = (deep_taylor.random_problem(seed, 3, "gelu", 2.0, batch=4) for seed in (1, 1, 2))
    assert one.net.sizes == [3, 5, 5, 5, 2] and one.net.activation == "gelu"
    assert torch.equal(one.net.weights[0], again.net.weights[0])
    assert not torch.equal(one.net.weights[0], other.net.weights[0])
    y = deep_taylor.targets(one, 0.3)
    torch.testing.assert_close((y - network.forward(one.net, one.x)[-1]).norm(dim=1), torch.full((4,), 0.3).double())


def test_gain_is_the_scale_of_the_weights():
    low, high = (deep_taylor.random_problem(1, 2, gain=gain).net.weights for gain in (1.0, 3.0))
    assert all(torch.allclose(3 * a, b) for a, b in zip(low, high, strict=True))
    rows = torch.cat([deep_taylor.random_problem(seed, 6).net.weights[3].flatten() for seed in range(60)])
    assert float(rows.var()) == pytest.approx(1 / 5, rel=0.15)


def test_distance_is_relative_and_counts_all_layers():
    exact = [torch.tensor([3.0]).double(), torch.tensor([4.0]).double()]
    assert deep_taylor.distance([v + 1 for v in exact], exact) == pytest.approx(2**0.5 / 5)
    assert deep_taylor.distance(exact, exact) == 0


def test_errors_are_those_of_the_kernel():
    problem = deep_taylor.random_problem(3, 2)
    (net, x, _), y = problem, deep_taylor.targets(problem, 0.5)
    exact = inference.solve(net, x, y, rtol=1e-9).weight_gradients()[:-1]
    errors = deep_taylor.relative_errors(problem, 0.5)
    assert errors[FIXED] == deep_taylor.distance(taylor.corrected_gradients(net, x, y), exact)
    assert errors[PRINTED] == deep_taylor.distance(taylor.printed_gradients(net, x, y), exact)
    table = deep_taylor.error_table([problem, problem], [0.1, 0.5])
    assert table[STEP].shape == (2, 2) and np.allclose(table[STEP][1], errors[STEP])


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("hidden", 1.5), ("gain", 0.0), ("gain", np.nan)])
def test_bad_input_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} "):
        deep_taylor.random_problem(**{"seed": 0, "hidden": 2, name: value})


FAULTS = [
    (verdicts_taylor.judge_expansion, "gradient", lambda net, x, y: [1.01 * g for g in _gradient(net, x, y)], 0),
    (verdicts_taylor.judge_expansion, "fisher", lambda net, x: 1.01 * _fisher(net, x), 1),
    (verdicts_taylor.judge_expansion, "model", lambda *args: 1.01 * _model(*args), 2),
    (verdicts_taylor.judge_expansion, "output_fisher", lambda net: torch.eye(sum(net.sizes[1:-1])), 3),
    (verdicts_taylor.judge_step, "inference_step", lambda *args: [1.01 * d for d in _step(*args)], 0),
    (verdicts_taylor.judge_step, "inference_step", lambda *args: [1.01 * d for d in _step(*args)], 1),
    (verdicts_taylor.judge_printed_update, "printed_gradients", taylor.corrected_gradients, 0),
    (verdicts_taylor.judge_printed_update, "printed_gradients", taylor.corrected_gradients, 1),
    (verdicts_taylor.judge_printed_update, "printed_gradients", taylor.corrected_gradients, 2),
    (verdicts_taylor.judge_corrected_update, "corrected_gradients", taylor.printed_gradients, 0),
    (verdicts_taylor.judge_corrected_update, "corrected_gradients", taylor.printed_gradients, 1),
    (verdicts_taylor.judge_corrected_update, "corrected_gradients", taylor.printed_gradients, 2),
    (verdicts_taylor.judge_corrected_update, "inference_step", lambda *args: [1.01 * d for d in _step(*args)], 3),
]
_gradient, _fisher, _model, _step = taylor.gradient, taylor.fisher, taylor.model, taylor.inference_step


@pytest.mark.parametrize(("judge", "name", "fault", "part"), FAULTS)
def test_each_part_of_a_verdict_can_fail(monkeypatch, judge, name, fault, part):
    monkeypatch.setattr(taylor, name, fault)
    verdict = judge(0)
    assert not list(verdict.parts.values())[part]
    assert verdict.outcome in (verdicts.IN_PART, verdicts.NOT_REPRODUCED)
