"""The picture of a network draws the numbers that it is given, and the chapter's one those of the paper's inference."""

import numpy as np
import pytest

from pcbook import diagram, network, onemlp
from pcbook.experiments import deep_taylor
from pcbook.explore import deep_trust_region, precision_ratio

ACTIVITIES = [np.array([1.0, -0.5]), np.array([0.2, -0.04, 0.0]), np.array([0.7])]
ERRORS = [np.array([0.4, -0.1, 0.0]), np.array([-0.8])]
SIZES = np.array([0.5, 0.8])


def traces(fig):
    """Discs, triangles, and the bars of each layer."""
    triangles, discs = fig.data[1:3]  # before them the wires
    return discs, triangles, next(trace for trace in fig.data if trace.type == "bar")


def test_units_stand_in_their_layer_with_their_activity_as_a_number_and_as_a_colour():
    discs, *_ = traces(diagram.network(ACTIVITIES, ERRORS, SIZES, "t", (1.0, 0.8, 0.8)))
    np.testing.assert_array_equal(discs.x, [0, 0, 1, 1, 1, 2])
    np.testing.assert_array_equal(discs.y, [0.5, -0.5, 1, 0, -1, 0])
    np.testing.assert_array_equal(discs.marker.color, np.concatenate(ACTIVITIES))
    assert discs.marker.cmin == -discs.marker.cmax  # white is zero
    assert discs.text == ("1.0", "−0.5", "0.2", "0.0", "0.0", "0.7")


def test_a_triangle_shows_sign_by_its_direction_and_size_by_its_area():
    discs, triangles, bars = traces(diagram.network(ACTIVITIES, ERRORS, SIZES, "t", (1.0, 0.8, 0.8)))
    error = np.concatenate(ERRORS)
    assert [error[k] > 0 for k in (0, 1, 3)] == ["up" in triangles.marker.symbol[k] for k in (0, 1, 3)]
    area = np.square(triangles.marker.size)
    np.testing.assert_allclose(area / area[3], np.abs(error) / 0.8)
    np.testing.assert_array_equal(triangles.y, discs.y[2:])
    assert np.all((triangles.x < discs.x[2:]) & (triangles.x > discs.x[2:] - 0.5))
    np.testing.assert_array_equal(bars.y, SIZES)


@pytest.mark.parametrize("hidden", [1, 3])
def test_the_news_comes_down_one_layer_a_step_and_the_energy_falls(hidden):
    walk, settled = deep_trust_region._walk(1, hidden, 1.0)
    problem = deep_taylor.random_problem(1, hidden)
    loss = float(network.loss(problem.net, problem.x, deep_taylor.targets(problem, 1.0)))
    energies = [np.square(sizes).sum() / 2 for *_, sizes in walk]
    assert energies[0] == pytest.approx(loss)
    assert np.all(np.diff(energies[:50]) < 0)
    for t in range(hidden + 1):
        assert [size > 0 for size in walk[t][2]] == [l >= hidden - t for l in range(hidden + 1)]
    np.testing.assert_allclose(walk[-1][2], settled, atol=0.02)


@pytest.mark.parametrize(("gamma", "error"), [(1e-2, 0), (1e2, 1)])
def test_the_ends_of_the_dial_leave_the_error_at_one_end(gamma, error):
    activities, errors, sizes = precision_ratio._settled(gamma, 1.0, 0.6)
    assert np.argmax(np.concatenate(sizes)) == error
    assert abs(errors[1 - error][0]) < 0.1 * abs(errors[error][0])
    pi1, pi2 = onemlp.precisions(gamma)
    energy = onemlp.equilibrated_energy(1.0, 0.6, 1.0, -1.0, pi1, pi2)
    np.testing.assert_allclose(np.square(np.concatenate(sizes)).sum() / 2, energy)
