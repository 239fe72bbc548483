"""The engine behind every slider: frames, patches, HTML and live widgets agree with the function that draws."""

import json
import re

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcbook import figures, onemlp, page, sliders
from pcbook.sliders import Choice, Explorer, Slider

AXIS = np.linspace(-2, 2, 9)
WORDS = {"caption": "As γ grows ℱ* turns into ℒ.", "alt": "A landscape that steepens as the precision ratio grows."}


def draw(gamma, algorithm):
    w1, w2 = np.meshgrid(AXIS, AXIS)
    energy = onemlp.equilibrated_energy(w1, w2, x=1, y=-1, pi1=gamma)
    left = figures.landscape(AXIS, AXIS, energy, f"ℱ*, γ = {gamma:.3g}", zmax=5)
    figures.add_path(left, [(gamma, 1), (1, -1)], algorithm)
    return [left, figures.curves(AXIS, {algorithm: AXIS**2 / gamma}, "slice", "w₂", "ℱ*")]


GAMMA = Slider("gamma", "γ", np.geomspace(0.01, 100, 9), start=1, log=True)
ALGORITHM = Choice("algorithm", "Algorithm", ["BP", "PC"])
EXPLORER = sliders.explore(draw, GAMMA, ALGORITHM, **WORDS)


def arrays(value, at=""):
    """Every number and array below `value`, by its place."""
    if isinstance(value, go.Figure):
        value = {"data": [trace.to_plotly_json() for trace in value.data], "layout": value.layout.to_plotly_json()}
        value["layout"].pop("template", None)
    if isinstance(value, dict):
        return {k: v for key in value if key != "uid" for k, v in arrays(value[key], f"{at}.{key}").items()}
    if isinstance(value, list | tuple) and any(isinstance(item, dict | go.Figure) for item in value):
        return {k: v for i, item in enumerate(value) for k, v in arrays(item, f"{at}[{i}]").items()}
    return {} if value is None else {at: value}


def assert_same(drawn, kernel):
    drawn, kernel = arrays(drawn), arrays(kernel)
    assert drawn.keys() == kernel.keys()
    for place, value in kernel.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            np.testing.assert_allclose(drawn[place], value, rtol=2e-7, atol=1e-37, err_msg=place)
        else:
            assert np.array_equal(drawn[place], value), place


def test_every_frame_on_the_page_is_what_the_kernel_draws():
    payload = json.loads(json.dumps(EXPLORER.payload()))
    frames = sliders.frames(draw, GAMMA, ALGORITHM)
    assert len(payload["frames"]) == len(frames) == 18
    for index, (values, encoded) in enumerate(frames):
        assert_same(sliders.shown(payload, index), draw(**values))
        assert_same(page.decode(encoded), draw(**values))


def test_frames_come_in_the_order_in_which_the_page_counts_them():
    values = [values for values, _ in sliders.frames(draw, GAMMA, ALGORITHM)]
    assert [v["algorithm"] for v in values[:3]] == ["BP", "PC", "BP"]
    assert values[2]["gamma"] == GAMMA.values[1]


def test_the_opening_frame_is_stored_without_a_patch_and_arrays_once():
    payload = EXPLORER.payload()
    assert payload["frames"][4 * 2] == {}
    assert len(set(payload["pool"])) == len(payload["pool"])
    landscapes = [frame.get("0", {}).get("data", {}).get("0", {}).get("z", {}) for frame in payload["frames"]]
    assert landscapes[0] == landscapes[1] != landscapes[2]  # the algorithm leaves the landscape alone


# As in plotly, an attribute that is a list never becomes an object, but either may come, change and go.
leaves = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2)
objects = st.recursive(
    st.fixed_dictionaries({}, optional={"leaf": leaves, "list": st.lists(leaves, max_size=3)}),
    lambda inner: st.fixed_dictionaries({}, optional={"object": inner, "objects": st.lists(inner, max_size=3)}),
)


@given(objects, objects)
def test_merge_undoes_difference(old, new):
    old, new = page.encode(old), page.encode(new)
    assert sliders.merge(old, sliders.difference(old, new)) == new


@given(st.lists(objects, min_size=2, max_size=2), st.lists(objects, min_size=2, max_size=2))
def test_merge_undoes_difference_between_lists_of_objects(old, new):
    old, new = page.encode(old), page.encode(new)
    assert sliders.merge(old, sliders.difference(old, new)) == new


def test_an_array_may_take_the_place_of_a_list():
    old, new = page.encode({"y": [1.5, 2.5]}), page.encode({"y": np.array([1.5, 3.5])})
    assert sliders.merge(old, sliders.difference(old, new)) == new


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.array([1, -2]), np.array([np.nan, 1.5])])
def test_arrays_survive_the_encoding(array):
    decoded = page.decode(json.loads(json.dumps(page.encode({"z": array}), allow_nan=False)))["z"]
    np.testing.assert_array_equal(decoded, array)
    assert decoded.shape == array.shape


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Slider("g", "γ", [0, 1], log=True), "low"),
        (lambda: Slider("g", "γ", [-1, 1], log=True), "low"),
        (lambda: Slider("g", "γ", [1, np.nan]), "values"),
        (lambda: Slider("g", "γ", [1, np.inf]), "values"),
        (lambda: Slider("g", "γ", [1]), "values"),
        (lambda: Slider("g", "γ", [2, 1]), "values"),
        (lambda: Slider("g", "γ", ["a", "b"]), "values"),
        (lambda: Slider("g", "γ", [1, 2], start=1.5), "start"),
        (lambda: Slider("g", "γ", [1, 2], low=1.5), "low, high"),
        (lambda: Slider("g", "γ", [1, 2], high=np.nan), "low, high"),
        (lambda: Choice("a", "A", ["PC"]), "values"),
        (lambda: Choice("a", "A", ["PC", "PC"]), "values"),
        (lambda: Choice("a", "A", ["PC", "BP"], start="TP"), "start"),
        (lambda: Explorer(draw, (), **WORDS), "controls"),
        (lambda: Explorer(draw, (GAMMA, GAMMA), **WORDS), "controls"),
        (lambda: Explorer(draw, (Slider("a", "a", range(21)), Slider("b", "b", range(20))), **WORDS), "420 frames"),
    ],
)
def test_bad_controls_are_refused_by_name(make, named):
    with pytest.raises(ValueError, match=named):
        make()


@pytest.mark.parametrize("words", [{"caption": ""}, {"caption": None}, {"alt": " "}, {"alt": "ℱ*, γ = 1"}])
def test_a_figure_needs_words_that_say_something(words):
    with pytest.raises(ValueError, match=next(iter(words))):
        sliders.explore(draw, GAMMA, ALGORITHM, **WORDS | words).html()


def test_traces_that_come_and_go_are_refused():
    def growing(n):
        return go.Figure([go.Scatter(y=[1])] * n)

    with pytest.raises(ValueError, match="same panels and traces"):
        sliders.explore(growing, Slider("n", "n", [1, 2]), **WORDS).payload()


def test_the_live_figure_follows_its_controls():
    body = EXPLORER.widget()
    for gamma, algorithm in ((0.37, "BP"), (0.37, "PC"), (42.0, "PC")):
        body.controls["gamma"].value, body.controls["algorithm"].value = gamma, algorithm
        for panel, figure in zip(body.panels, draw(body.controls["gamma"].value, algorithm), strict=True):
            assert panel.layout.title.text == figure.layout.title.text
            for live, kernel in zip(panel.data, figure.data, strict=True):
                assert live.name == kernel.name
                for key in ("x", "y", "z"):
                    if key in kernel:
                        np.testing.assert_array_equal(live[key], kernel[key])
                if live.type == "scatter":
                    assert live.line.to_plotly_json() == kernel.line.to_plotly_json()


def test_a_live_panel_takes_over_what_is_new_and_nothing_else(monkeypatch):
    def figure(y, title, **marker):
        trace = go.Scatter(x=np.array([1.0, 2.0]), y=np.array(y), text=["a", "b"], marker=marker)
        return go.Figure(trace, {"title": {"text": title}, "xaxis": {"range": [0, 3]}})

    first, second = figure([1.0, np.nan], "one", size=5), figure([1.0, np.nan], "two", color="red")
    (panel,) = page.to_widget([first], "A caption.", "A longer text than the title.").panels
    given = []
    update = type(panel.data[0]).update
    monkeypatch.setattr(type(panel.data[0]), "update", lambda self, *d, **k: given.append(*d) or update(self, *d, **k))
    page.replace(panel, second)
    assert given == [{"marker": {"color": "red"}}]
    assert panel.layout.title.text == "two" and panel.data[0].marker.size is None
    page.replace(panel, figure([2.0, np.nan], "two"))
    assert panel.data[0].y[0] == 2.0 and panel.data[0].marker.color is None
    page.replace(panel, first)
    assert page.encode(go.Figure(panel.data)) == page.encode(go.Figure(first.data))
    assert panel.layout.title.text == "one" and tuple(panel.layout.xaxis.range) == (0, 3)


def test_live_sliders_cover_their_range_and_say_their_number():
    log, whole, real = (
        Slider("a", "a", [0.1, 1, 10], log=True, high=100).widget(),
        Slider("b", "b", [1, 2, 30]).widget(),
        Slider("c", "c", [0.0, 0.5], low=-1).widget(),
    )
    assert (log.min, log.max, log.value, log.readout, log.continuous_update) == (-1, 2, 1, True, True)
    assert (whole.min, whole.max, whole.value, whole.readout) == (1, 30, 2, True)
    assert (real.min, real.max, real.value, real.readout) == (-1, 0.5, 0.5, True)


def test_a_value_that_the_kernel_refuses_becomes_a_sentence():
    slider = Slider("gamma", "γ", [1.0, 2.0], low=-1)
    body = sliders.explore(lambda gamma: draw(gamma, "PC"), slider, **WORDS).widget()
    body.controls["gamma"].value = -1
    assert 'role="alert"' in body.alert.value
    assert "pi1 holds -1.0: must be &gt; 0" in body.alert.value
    body.controls["gamma"].value = 2
    assert body.alert.value == ""


def test_the_page_has_native_labelled_inputs():
    html = EXPLORER.html()
    assert re.search(r'<input type="range" min="0" max="8" step="1" value="4" aria-label="γ"', html)
    assert 'aria-valuetext="γ = 1"' in html
    assert "<output" in html
    assert "<label" in html
    assert "<option selected>BP</option><option>PC</option>" in html
    assert f'role="group" aria-label="{WORDS["alt"]}"' in html
    assert html.count('class="pc-panel"') == 2
    data = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1]
    assert json.loads(data)["texts"][0][0] == "γ = 0.01"


def test_words_cannot_break_out_of_the_page():
    alt = 'A "quoted" </script><b>text</b> that is long enough'
    fig = go.Figure(layout={"title": {"text": "</script>"}})
    html = page.to_html([fig], {"panels": page.encode([fig])}, "A *caption*.", alt)
    assert html.count("</script>") == 1
    assert "<em>caption</em>" in html
    assert 'aria-label="A &quot;quoted&quot; &lt;/script&gt;' in html


@pytest.mark.parametrize("static", ["1", "0"])
def test_it_displays_itself_as_html_in_the_book_and_as_a_widget_elsewhere(monkeypatch, static):
    monkeypatch.setenv("PCBOOK_STATIC", static)
    bundle = EXPLORER._repr_mimebundle_()
    assert ("text/html" in bundle) == (static == "1")
    assert ("application/vnd.jupyter.widget-view+json" in bundle) == (static == "0")


def test_numbers_read_well():
    slider = Slider("a", "γ", [-0.5, 1000.0])
    assert [slider.text(v) for v in (-0.5, 0.31622776, 1000.0)] == ["γ = −0.5", "γ = 0.316", "γ = 1000"]


def test_a_live_control_is_there_under_a_kernel_only():
    explorer = Explorer(draw, (GAMMA, Choice("algorithm", "algorithm", ALGORITHM.values, live=True)), **WORDS)
    values = [values for values, _ in sliders.frames(explorer.draw, *explorer.controls)]
    assert len(values) == len(explorer.payload()["frames"]) == len(GAMMA.values)
    assert {v["algorithm"] for v in values} == {ALGORITHM.values[0]}
    assert "<select" not in explorer.html()
    assert set(explorer.widget().controls) == {GAMMA.name, "algorithm"}
