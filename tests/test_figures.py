"""What the figure builders promise about the arrays that they draw."""

import numpy as np
import plotly.graph_objects as go
import pytest

from pcbook import figures

AXIS = np.linspace(-2, 2, 5)
Z = np.add.outer(AXIS**2, AXIS**2)


def test_a_landscape_is_clipped_and_keeps_its_axes():
    (trace,) = figures.landscape(AXIS, AXIS, Z, "ℒ", zmax=3).data
    np.testing.assert_array_equal(trace.z, np.minimum(Z, 3))
    assert trace.contours.end == 3


def test_a_log_landscape_shows_powers_of_ten_and_survives_zero():
    (trace,) = figures.landscape(AXIS, AXIS, Z, "ℒ", log=True).data
    assert Z.min() == 0
    np.testing.assert_allclose(10**trace.z, np.maximum(Z, 1e-4 * Z.max()))
    np.testing.assert_allclose([float(text) for text in trace.colorbar.ticktext], 10.0**trace.colorbar.tickvals)


def test_arrows_have_equal_length_and_follow_the_direction():
    direction = np.stack(np.meshgrid(AXIS, 3 * AXIS), axis=-1)  # vanishes in the middle
    trace = figures.add_field(go.Figure(), AXIS, AXIS, direction).data[0]
    x, y = (np.reshape(values, (25, 6)) for values in (trace.x, trace.y))
    shaft = np.stack([x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]], axis=-1)
    moving = np.arange(25) != 12
    assert np.isnan(shaft[12]).all()
    length = np.linalg.norm(shaft[moving], axis=-1)
    np.testing.assert_allclose(length, length[0])
    wanted = direction.reshape(-1, 2)[moving]
    np.testing.assert_allclose(np.sum(shaft[moving] * wanted, axis=-1), length * np.linalg.norm(wanted, axis=-1))
    np.testing.assert_allclose((x[:, 0] + x[:, 1])[moving] / 2, np.tile(AXIS, 5)[moving], atol=1e-12)


@pytest.mark.parametrize("slope", [-1.0, 0.5])
def test_the_manifold_solves_and_stays_inside(slope):
    trace = figures.add_manifold(go.Figure(), slope, 3).data[0]
    drawn = ~np.isnan(trace.x)
    np.testing.assert_allclose((trace.x * trace.y)[drawn], slope)
    assert np.abs([trace.x[drawn], trace.y[drawn]]).max() <= 3 * (1 + 1e-12)
    assert trace.x[drawn].min() < 0 < trace.x[drawn].max()


@pytest.mark.parametrize(("slope", "limit", "named"), [(0, 3, "slope"), (np.nan, 3, "slope"), (1, -3, "limit")])
def test_a_manifold_needs_a_slope_and_a_limit(slope, limit, named):
    with pytest.raises(ValueError, match=named):
        figures.add_manifold(go.Figure(), slope, limit)


def test_every_algorithm_is_told_apart_without_colour():
    assert figures.COLOURS.keys() == figures.DASHES.keys() == figures.MARKERS.keys()
    for styles in (figures.COLOURS, figures.DASHES, figures.MARKERS):
        assert len(set(styles.values())) == len(styles)


def test_curves_and_intervals_take_the_algorithms_colours():
    fig = figures.curves(AXIS, {"PC, exact": (Z[0], Z[0] - 1, Z[0] + 1), "Adam": Z[1]}, "t", "x", "y")
    band, line, other = fig.data
    assert line.line.color == figures.COLOURS["PC"] != other.line.color
    assert (band.y[:5].tolist(), band.y[:4:-1].tolist()) == ((Z[0] + 1).tolist(), (Z[0] - 1).tolist())
    (point,) = figures.intervals({"BP": (0.3, 0.1, 0.6)}, "t", "x").data
    assert point.marker.color == figures.COLOURS["BP"]
    np.testing.assert_allclose([point.error_x.arrayminus[0], point.error_x.array[0]], [0.2, 0.3])
