"""One palette for the whole book: told apart by colour-blind readers, read on both pages, named in one module."""

import ast
import importlib.util
import itertools
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from _plotly_utils.basevalidators import ColorValidator
from plotly.colors import PLOTLY_SCALES

from pcbook import figures

ROOT = Path(__file__).parent.parent
CODE = [path for path in sorted((ROOT / "pcbook").rglob("*.py")) if path.name != "figures.py"]
SHEETS = [path for path in sorted((ROOT / "book").rglob("*")) if path.suffix in (".css", ".js", ".py", ".svg")]

# How linear RGB looks to readers without one kind of cone: Machado, Oliveira and Fernandes (2009), severity 1.
SIGHT = {
    "trichromatic": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    """Linear RGB (3,) of "#rrggbb"."""
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(colour, sight="trichromatic"):
    """CIELAB (3,) as somebody with this sight sees the colour; white is that of sRGB, D65."""
    seen = np.clip(np.asarray(SIGHT[sight]) @ linear(colour), 0, 1)
    ratio = TO_XYZ @ seen / TO_XYZ.sum(1)
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one, other):
    """The contrast ratio of WCAG 2."""
    bright, dark = sorted((0.05 + linear(c) @ TO_XYZ[1] for c in (one, other)), reverse=True)
    return bright / dark


def backgrounds():
    """What the theme's own style sheet paints behind the page, for the light mode and the dark one."""
    found = []
    for package, name in (
        ("pydata_sphinx_theme", "pydata-sphinx-theme.css"),
        ("sphinx_book_theme", "sphinx-book-theme.css"),
    ):
        folder = Path(importlib.util.find_spec(package).origin).parent
        sheet = next(folder.rglob(name)).read_text(encoding="utf-8")
        found.append(re.findall(r"--pst-color-background:\s*(#\w+)", sheet))
    return [c if len(c) == 7 else "#" + "".join(2 * d for d in c[1:]) for c in (found[0][0], found[1][-1])]


def test_the_simulation_keeps_greys_and_confuses_what_it_should():
    for sight in SIGHT:
        np.testing.assert_allclose(np.sum(SIGHT[sight], axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(lab("#808080", sight), [53.585, 0, 0], atol=0.05)
    np.testing.assert_allclose(lab("#ff0000"), [53.24, 80.09, 67.20], atol=0.05)

    def apart(sight):
        return np.linalg.norm(lab("#cc5500", sight) - lab("#688000", sight))  # an orange and an olive

    assert apart("trichromatic") > 40 > 12 > apart("deuteranopia")


@pytest.mark.parametrize("sight", SIGHT)
def test_algorithms_are_told_apart_by_everybody(sight):
    for (a, one), (b, other) in itertools.combinations(figures.COLOURS.items(), 2):
        assert np.linalg.norm(lab(one, sight) - lab(other, sight)) > 15, (a, b)
    assert np.linalg.norm(lab(figures.BELOW, sight) - lab(figures.ABOVE, sight)) > 20


@pytest.mark.parametrize("sight", SIGHT)
def test_no_other_series_is_taken_for_an_algorithm(sight):
    """A little closer they may come: they differ in dash or marker, too."""
    for pair in itertools.chain(
        itertools.product(figures.NEUTRAL, figures.COLOURS.values()), itertools.combinations(figures.NEUTRAL, 2)
    ):
        assert np.linalg.norm(lab(pair[0], sight) - lab(pair[1], sight)) > 10, pair


def test_every_line_reads_on_both_pages():
    light, dark = backgrounds()
    assert contrast(light, dark) > 15
    for colour in {*figures.COLOURS.values(), *figures.NEUTRAL, figures.ABOVE, figures.BELOW}:
        assert contrast(colour, light) >= 3 and contrast(colour, dark) >= 3, colour
    for page, mode in ((light, "light"), (dark, "dark")):
        assert contrast(figures.TEMPLATES[mode].layout.font.color, page) >= 7
    assert min(contrast(figures.BLACK, colour) for _, colour in figures.SIGNED) >= 7


COLOUR = re.compile(r"#[0-9a-f]{3,4}\b|#[0-9a-f]{6}(?:[0-9a-f]{2})?\b|\b(?:rgb|hsl)a?\(", re.IGNORECASE)
NAMES = {*ColorValidator.named_colors, *(scale.lower() for scale in PLOTLY_SCALES)}


def colours_in(source):
    """The strings in a piece of Python that name a colour or a colour scale."""
    strings = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return [s for s in strings if isinstance(s, str) and (COLOUR.search(s) or s.lower().removesuffix("_r") in NAMES)]


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.stem)
def test_no_other_module_names_a_colour(path):
    assert colours_in(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", sorted((ROOT / "book").glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_chapter_names_a_colour(path):
    cells = nbformat.read(path, as_version=4).cells
    assert [found for cell in cells if cell.cell_type == "code" for found in colours_in(cell.source)] == []


@pytest.mark.parametrize("path", SHEETS, ids=lambda path: path.name)
def test_style_sheets_take_the_theme_s_colours_and_drawings_the_palette_s(path):
    assert {*COLOUR.findall(path.read_text(encoding="utf-8"))} <= {*figures.COLOURS.values()}


@pytest.mark.parametrize("said", ['"#fff"', '"#D55E0033"', '"rgba(1, 2, 3, 0.4)"', '"white"', '"Viridis_r"'])
def test_a_colour_is_noticed(said):
    assert colours_in(f"colour = {said}")
    assert not colours_in('"Exercise #12: the red line of a Jet, rgb and all"')
