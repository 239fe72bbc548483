"""Every explorer of every chapter: its frames hold what the kernel computes, its widgets move, bad input answers."""

import functools
import importlib
import inspect
import json
import pkgutil
import re

import numpy as np
import pytest
from test_sliders import arrays, assert_same

from pcbook import explore, onemlp, page, sliders
from pcbook.explore import which_way

MODULES = [importlib.import_module(f"pcbook.explore.{m.name}") for m in pkgutil.iter_modules(explore.__path__)]
FOUND = {
    f"{module.__name__.rsplit('.', 1)[1]}.{name}": function
    for module in MODULES
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if name.endswith("_explorer") and function.__module__ == module.__name__
}
EXPLORERS = {name: function() for name, function in FOUND.items()}
each = pytest.mark.parametrize("name", FOUND)


@functools.cache
def html(name):
    """What the book shows for the explorer, with every frame drawn: made once for all tests."""
    return EXPLORERS[name].html()


def payload(name):
    """The frames as the page finds them in the HTML."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html(name), re.DOTALL)[1])


def other_value(control):
    """An end of the control's range, or one of its options, that it does not stand at."""
    low, high = (control.options[0], control.options[-1]) if hasattr(control, "options") else (control.min, control.max)
    if type(control).__name__ == "FloatLogSlider":
        low, high = 10**low, 10**high
    return high if control.value != high else low


@pytest.mark.slow
@each
def test_every_frame_is_what_the_kernel_draws(name):
    explorer, stored = EXPLORERS[name], payload(name)
    values = [values for values, _ in sliders.frames(lambda **_: [], *explorer.controls)]
    assert len(values) == len(stored["frames"])
    for index, at in enumerate(values):
        assert_same(sliders.shown(stored, index), explorer.figures(**at))


@pytest.mark.slow
@each
def test_payload_is_small_enough_for_its_page(name):
    assert len(html(name)) < 900_000


@each
def test_under_a_kernel_every_control_changes_the_figure(name):
    body = EXPLORERS[name].widget()
    for control in body.controls.values():
        before = [str(page.encode(list(panel.data))) for panel in body.panels]
        control.value = other_value(control)
        assert [str(page.encode(list(panel.data))) for panel in body.panels] != before, control.description


@each
def test_sliders_move_through_their_whole_range_and_no_number_is_infinite(name):
    """Between the frames too, where only a kernel gets; gaps in a curve are NaN."""
    explorer = EXPLORERS[name]
    for control in explorer.controls:
        if not hasattr(control, "low"):
            continue
        way = (np.geomspace if control.log else np.linspace)(control.low, control.high, 5)[1:-1] * 1.003
        for value in {round(v) for v in way} if control.whole else way:
            try:
                drawn = arrays(explorer.figures(**explorer.start | {control.name: value}))
            except ValueError as error:
                assert str(error).startswith(f"{control.name} holds"), error  # a sentence for the reader
                continue
            numbers = [v for v in drawn.values() if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
            assert not any(np.isinf(v).any() for v in numbers), (control.name, value)


NO_NUMBERS = [1j, np.complex128(1), np.array([1.0, 2.0]), [1, 2], {}, b"1", "junk", "", None, True, np.True_, object()]
JUNK = [np.nan, np.inf, -np.inf, -1e9, 10**400, *NO_NUMBERS]


@each
@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: type(junk).__name__)
def test_junk_is_answered_by_the_name_of_the_control(name, junk):
    explorer = EXPLORERS[name]
    for control in explorer.controls:
        with pytest.raises(ValueError, match=f"^{control.name} = "):
            explorer.draw(**explorer.start | {control.name: junk})


@pytest.mark.parametrize("w", [(0.3, 0.8), (-1.5, 0.2), (2.0, -2.5), (0.0, 0.0), (1.0, 1.0)])
def test_the_roots_drawn_are_where_the_distance_is_stationary(w):
    points = which_way.stationary_points(*w)
    u, v = points.T
    assert len(points) in (2, 4)
    np.testing.assert_allclose(u * v, -1, rtol=1e-12)
    np.testing.assert_allclose((u - w[0]) - (v - w[1]) * v / u, 0, atol=1e-6)  # ½ dD²/du with v = −1/u
    distance = np.linalg.norm(points - w, axis=-1)
    assert np.all(np.diff(distance) >= -1e-12)
    np.testing.assert_allclose(distance[0], np.linalg.norm(onemlp.closest_solution(*w, -1.0) - w), rtol=1e-9)


def test_the_gamma_slider_draws_the_equilibrated_energy_itself():
    explorer = explore.gamma_explorer()
    gammas = explorer.controls[0].values
    assert {0.5, 1.0, 2.0} <= {float(g) for g in gammas}
    assert gammas[0] == pytest.approx(1e-2) and gammas[-1] == pytest.approx(1e2)
    payload = explorer.payload()
    per_gamma = len(payload["frames"]) // len(gammas)
    for k, gamma in enumerate(gammas):
        panels = sliders.shown(payload, k * per_gamma)
        trace = next(t for panel in panels for t in panel["data"] if t["type"] == "contour")
        w1, w2 = np.meshgrid(trace["x"], trace["y"])
        energy = onemlp.equilibrated_energy(w1, w2, 1.0, -1.0, pi1=1 + gamma, pi2=1 + 1 / gamma)
        inside = energy < trace["zmax"]
        assert inside.mean() > 0.3
        np.testing.assert_allclose(np.asarray(trace["z"])[inside], energy[inside], rtol=2e-5, atol=1e-6)
