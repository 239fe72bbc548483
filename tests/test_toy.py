"""The toy experiments: what must hold whatever the outcome, and the small-case answers."""

import numpy as np
import pytest

from pcbook import data, intervals, onemlp
from pcbook.experiments import toy


@pytest.fixture(scope="module", params=["BP", "PC"])
def run(request):
    return toy.training(request.param, 300, seed=5)


def test_training_ends_below_the_tolerance_and_geometry_adds_up(run):
    assert np.all(onemlp.loss(*run.end.T, 1.0, toy.SLOPE) < toy.TOLERANCE)
    assert np.all(run.length >= np.linalg.norm(run.end - run.start, axis=-1) * (1 - 1e-12))
    assert np.all(run.detour >= 1 - 1e-9)
    assert np.all(run.nearest_to_saddle <= np.linalg.norm(run.start, axis=-1))
    assert np.all((run.escape + run.last <= run.steps) & (run.escape >= 0) & (run.last >= 0))


def test_training_follows_descent_step_by_step():
    run = toy.training("PC", 4, seed=11)
    generator = np.random.default_rng(11)
    w0 = generator.uniform(-1, 1, (4, 2))
    batches = data.toy_batches(generator, run.steps.max(), 1)
    path = onemlp.descent("PC", w0, batches, toy.LEARNING_RATE)
    np.testing.assert_array_equal(path[run.steps, np.arange(4)], run.end)
    below = onemlp.loss(*path.T, 1.0, toy.SLOPE).T < toy.TOLERANCE
    np.testing.assert_array_equal(below.argmax(axis=0), run.steps)


def test_training_that_cannot_finish_says_so():
    with pytest.raises(RuntimeError, match="BP"):
        toy.training("BP", 10, seed=0, max_steps=2)


@pytest.mark.filterwarnings("error")
def test_runs_that_diverge_are_an_error_in_training_and_nan_in_alignment():
    with pytest.raises(RuntimeError, match="BP diverged"):
        toy.training("BP", 50, seed=0, scale=4.0)
    cosines = toy.alignment(200, seed=0, scale=6.0, batches=12, algorithms=("BP",))["BP"]
    assert np.isnan(cosines[-1]).any()
    assert np.isfinite(cosines[0]).all()


@pytest.mark.parametrize(
    ("act", "named"),
    [
        (lambda: toy.starts(2.5, 0), "count"),
        (lambda: toy.starts(2, 0, scale=[1.0, 2.0]), "scale"),
        (lambda: toy.training("BP", 2, 0, max_steps=0), "max_steps"),
        (lambda: data.toy_batches(None, 1), "generator"),
        (lambda: data.toy_batches(np.random.default_rng(0), 1, size=0), "size"),
        (lambda: intervals.share([np.nan, 0.0]), "hits"),
        (lambda: intervals.mean(["a", "b"]), "samples"),
    ],
)
def test_bad_arguments_are_named_at_once(act, named):
    with pytest.raises(ValueError, match=named):
        act()


def test_alignment_at_the_first_batch_is_the_cosine_at_the_start():
    cosines = toy.alignment(50, seed=3, scale=0.5)
    w0 = toy.starts(50, seed=3, scale=0.5)
    for name in ("BP", "PC"):  # their direction does not depend on the batch when y = m x
        np.testing.assert_allclose(cosines[name][0], toy.cosine_to_closest(name, w0), atol=1e-12)
        assert cosines[name].shape == (5, 50)


@pytest.mark.parametrize("name", ["BP", "PC", "TRN"])
def test_update_points_straight_to_the_solution_on_the_diagonal(name):
    # On w1 = −w2 = t the closest solution is (1, −1), and symmetry keeps ℒ's gradient on the diagonal.
    cosine = toy.cosine_to_closest(name, [[0.3, -0.3], [0.8, -0.8]])
    assert np.all(cosine > 0.9) if name == "PC" else np.allclose(cosine, 1)


def test_inference_error_is_the_contraction_to_the_power_of_steps_for_w1():
    w1, w2 = toy.starts(100, seed=2).T
    z = onemlp.euler_inference(7, w1, w2, 1.0, -1.0, 0.1)[-1]
    found = onemlp.energy_gradient(z, w1, w2, 1.0, -1.0)[:, 0]
    exact = onemlp.equilibrated_energy_gradient(w1, w2, 1.0, -1.0)[:, 0]
    np.testing.assert_allclose(1 - found / exact, onemlp.contraction(w2, 0.1) ** 7, rtol=1e-9)
    short, long = (toy.inference_error(100, 2, steps)[0] for steps in (7, 400))
    assert np.all(short > 1e-3) and np.all(long < 1e-12)


def test_toy_batches_have_the_stated_moments_and_slope():
    for spread in data.SPREADS.values():
        ((x, y),) = data.toy_batches(np.random.default_rng(0), 1, runs=500, slope=2.0, spread=spread)
        np.testing.assert_array_equal(y, 2 * x)
        assert x.shape == (500, 64)
        error = spread / np.sqrt(x.size)
        assert abs(x.mean() - 1) < 5 * error and abs(x.std() - spread) < 5 * error
    assert data.SPREADS["variance"] ** 2 == pytest.approx(data.SPREADS["standard deviation"])


@pytest.mark.parametrize("bad", [dict(spread=0.0), dict(slope=0.0), dict(steps=-1)])
def test_toy_batches_name_bad_arguments(bad):
    arguments = dict(generator=np.random.default_rng(0), steps=1) | bad
    with pytest.raises(ValueError, match=next(iter(bad))):
        list(data.toy_batches(**arguments))


def test_intervals_cover_the_truth_about_95_percent_of_the_time():
    generator = np.random.default_rng(1)
    means = [intervals.mean(generator.normal(size=8)) for _ in range(2000)]
    shares = [intervals.share(generator.random(60) < 0.4) for _ in range(2000)]
    covered = [np.mean([i.low <= truth <= i.high for i in found]) for found, truth in ((means, 0), (shares, 0.4))]
    assert all(0.93 < share < 0.97 for share in covered), covered


@pytest.mark.parametrize("samples", [[], [1.0], [1.0, np.nan]])
def test_interval_of_too_little_is_refused(samples):
    with pytest.raises(ValueError, match="samples"):
        intervals.mean(samples)


def test_share_of_nothing_is_refused():
    with pytest.raises(ValueError, match="hits"):
        intervals.share([])
