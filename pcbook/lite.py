"""The JupyterLite site: the chapters that need no PyTorch, run by the reader's browser. `python -m pcbook lite`.

It is a folder of files. The chapters, this package and the Python packages that it needs are in it; Python itself,
NumPy, SciPy and SymPy are Pyodide's, which the browser fetches from the network when a chapter is run.
"""

import ast
import html
import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pcbook import chapters, wheels
from pcbook.chapters import Chapter

ROOT = Path(__file__).parent.parent
BUILT = ROOT / "_build" / "html"  # the book
LINKS = BUILT / "_static" / "vendor" / "lite.js"  # tells its pages which chapters run in the browser
RUNTIME = ("numpy", "scipy", "sympy", "packaging", "typing-extensions")  # Pyodide's
SHIPPED = ("comm", "plotly", "narwhals", "ipywidgets", "anywidget", "psygnal", "markdown-it-py", "mdurl", "tqdm")
FRONT_ENDS = (
    "@jupyterlite/pyodide-kernel-extension",
    "@jupyter-widgets/jupyterlab-manager",
    "anywidget",
    "jupyterlab-myst",
)
KERNEL = {"display_name": "Python (Pyodide)", "language": "python", "name": "python"}
SETTINGS = {  # nothing but Pyodide comes from elsewhere
    "jupyter-lite-schema-version": 0,
    "jupyter-config-data": {
        "litePluginSettings": {"@jupyterlite/pyodide-kernel-extension:kernel": {"disablePyPIFallback": True}}
    },
}

SETUP = """\
# Added for the browser: brings the packages that this chapter imports. The first time it takes a minute.
import piplite

await piplite.install({runtime})  # Pyodide's
await piplite.install({shipped}, deps=False)  # this site's"""

PROBE = """
import json, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("there is no torch", name="torch")

sys.meta_path.insert(0, NoTorch())
for slug, imports in json.load(sys.stdin).items():
    try:
        exec(imports, {})
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
    else:
        print(slug)
"""

FETCHED = """\
<p>The network. Python, NumPy, SciPy and SymPy for the browser come from <code>{host}</code>, where
<a href="https://pyodide.org">Pyodide</a> {version} lies. Without it the notebooks open, and no cell runs.
Everything else is on this site.</p>"""
CARRIED = "<p>No network: this site carries Python, NumPy, SciPy and SymPy for the browser.</p>"
PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Run the book in the browser</title>
<link rel="icon" href="lab/favicon.ico">
<script id="jupyter-config-data" type="application/json" data-jupyter-lite-root=".">{{}}</script>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.0625rem/1.6 system-ui, sans-serif; max-width: 42rem; margin: 2rem auto; padding: 0 1rem; }}
</style>
<main>
<h1>Run the book in the browser</h1>
<p>These chapters run here, with all their sliders, and nothing is installed.</p>
<ul>
{here}
</ul>
<p>Open one, then choose <em>Run → Run All Cells</em>. The first cell brings the packages, which takes up to a minute.
Cells are some times slower than on your own machine. What you change stays in this browser.</p>
<h2>What it needs</h2>
{needs}
<h2>What does not run here</h2>
<p>There is no PyTorch for the browser. The chapters on deep networks that need it can be read in the book, or run on
your own machine:</p>
<ul>
{absent}
</ul>
{back}</main>
</html>
"""


def offered(book: Path = ROOT / "book") -> dict[str, Chapter]:
    """{slug: `Chapter`} of the chapters in the folder `book` whose imports succeed where there is no PyTorch."""
    found = chapters.read_all(book)
    imports = json.dumps({slug: _imports(book / f"{slug}.ipynb") for slug in found})
    run = [sys.executable, "-c", PROBE]
    done = subprocess.run(run, input=imports, capture_output=True, encoding="utf-8", cwd=ROOT)
    if done.returncode:
        raise OSError(f"the imports of a chapter fail:\n{done.stderr}")
    return {slug: found[slug] for slug in done.stdout.split()}


def build(output: str | Path | None = None, pyodide: str | Path | None = None, book: Path = ROOT / "book") -> Path:
    """Build the site as the folder `output`; its path. An older site there is replaced when the new one is finished.

    `output` defaults to `lite` in the built book, whose pages then link to the site. `pyodide` is the folder of an
    unpacked Pyodide distribution, for a site that carries it and needs no network. Raises `ValueError` if the one holds
    something else, or the other is none, and `OSError` with JupyterLite's words if it fails.
    """
    output = Path(output or BUILT / "lite").resolve()
    if output.is_file() or (output.is_dir() and any(output.iterdir()) and not (output / "jupyter-lite.json").exists()):
        raise ValueError(f"output = {str(output)!r}: must be a new folder, or one with an older site")
    if pyodide is not None and not (Path(pyodide) / "pyodide.mjs").exists():
        raise ValueError(f"pyodide = {str(pyodide)!r}: must be a folder that holds pyodide.mjs")
    if importlib.util.find_spec("jupyterlite_pyodide_kernel") is None:
        raise ValueError("JupyterLite is not installed: pip install -r requirements.txt")
    here = offered(book)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _prepare(folder, book, here, pyodide)
        _run(folder)
        page = first_page(chapters.read_all(book), here, output.parent == BUILT, pyodide)
        (folder / "site" / "index.html").write_text(page, encoding="utf-8")
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(folder / "site", output)
    if output == BUILT / "lite" and LINKS.parent.exists():
        LINKS.write_text(f"window.PCBOOK_LITE = {json.dumps(list(here))};\n")
    return output


def adapted(path: Path, here: Collection[str]) -> dict[str, Any]:
    """The notebook at `path` as the site has it: a cell that installs, Pyodide's kernel, links within the site."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    titles = _titles(path.parent)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = linked("".join(cell["source"]), here, titles)
    shipped = [f"{name}=={importlib.metadata.version(name)}" for name in ("pcbook", *SHIPPED)]
    cell = {"cell_type": "code", "execution_count": None, "id": "browser-setup", "metadata": {}, "outputs": []}
    notebook["cells"].insert(1, cell | {"source": SETUP.format(runtime=list(RUNTIME), shipped=shipped)})
    notebook["metadata"]["kernelspec"] = KERNEL
    return notebook


def linked(text: str, here: Collection[str], titles: Mapping[str, str]) -> str:
    """Markdown in which a reference to a page is a link to its notebook, or, if that is not `here`, the page's name."""

    def place(words: str, slug: str) -> str:
        return f"[{words}]({slug}.ipynb)" if slug in here else f"*{words}* (in the book)"

    text = re.sub(r"\{doc\}`(?:([^`<]+?) *<)?([\w-]+)>?`", lambda m: place(m[1] or titles[m[2]], m[2]), text)
    return re.sub(r"\[([^\]]+)\]\(([\w-]+)\.(?:ipynb|md)\)", lambda m: place(m[1], m[2]), text)


def write_wheels(folder: str | Path) -> None:
    """The wheels of this package, with the recorded runs, and of what it needs of pure Python."""
    for name in SHIPPED:
        wheels.of_installed(name, folder)
    parts = [*ROOT.glob("pcbook/**/*.py"), *ROOT.glob("book/records/*.json")]
    contents = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in sorted(parts)}
    wheels.write(folder, "pcbook", importlib.metadata.version("pcbook"), contents)


def first_page(
    book: Mapping[str, Chapter], here: Mapping[str, Chapter], beside: bool, pyodide: str | Path | None
) -> str:
    """The page that opens first: the chapters, what they need from the network, and which ones are not here.

    It links to the built book if the site is `beside` it.
    """
    from jupyterlite_pyodide_kernel.constants import PYODIDE_CDN_URL, PYODIDE_VERSION

    def item(chapter: Chapter, target: str) -> str:
        words = html.escape(chapter.title)
        return f'<li><a href="{target}">{words}</a></li>' if target else f"<li>{words}</li>"

    absent = {slug: chapter for slug, chapter in book.items() if slug not in here}
    return PAGE.format(
        here="\n".join(item(chapter, f"lab/index.html?path={slug}.ipynb") for slug, chapter in here.items()),
        absent="\n".join(item(chapter, f"../book/{slug}.html" if beside else "") for slug, chapter in absent.items()),
        needs=CARRIED if pyodide else FETCHED.format(version=PYODIDE_VERSION, host=PYODIDE_CDN_URL.split("/")[2]),
        back='<p><a href="../index.html">Back to the book</a></p>\n' if beside else "",
    )


def _imports(path: Path) -> str:
    """The import statements of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return "\n".join(
        ast.unparse(node) for node in ast.parse(code).body if isinstance(node, ast.Import | ast.ImportFrom)
    )


def _titles(book: Path) -> dict[str, str]:
    """{slug: heading} of the pages in the folder `book`, notebooks and prose."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in [*book.glob("*.md"), *book.glob("*.ipynb")]}
    first = {slug: "".join(json.loads(t)["cells"][0]["source"]) if t[0] == "{" else t for slug, t in texts.items()}
    return {slug: re.findall(r"^# (.+)", text, re.MULTILINE)[0] for slug, text in first.items()}


def _prepare(folder: Path, book: Path, here: Mapping[str, Chapter], pyodide: str | Path | None) -> None:
    """What JupyterLite builds from: notebooks, wheels, and Pyodide if the site is to carry it."""
    (folder / "files").mkdir()
    for slug in here:
        text = json.dumps(adapted(book / f"{slug}.ipynb", here), ensure_ascii=False, indent=1)
        (folder / "files" / f"{slug}.ipynb").write_text(text, encoding="utf-8")
    (folder / "pypi").mkdir()
    write_wheels(folder / "pypi")
    if pyodide is not None:
        shutil.copytree(pyodide, folder / "static" / "pyodide")


def _run(folder: Path) -> None:
    """JupyterLite's own build, from `folder` into its subfolder `site`."""
    config = {
        "LiteBuildConfig": {
            "contents": ["files"],
            "apps": ["lab"],
            "ignore_sys_prefix": ["federated_extensions"],  # other extensions that happen to be installed
            "federated_extensions": [_front_end(name) for name in FRONT_ENDS],
            "no_sourcemaps": True,
            "no_unused_shared_packages": True,
            "output_dir": "site",
            "cache_dir": "cache",
        }
    }
    (folder / "jupyter_lite_config.json").write_text(json.dumps(config))
    (folder / "jupyter-lite.json").write_text(json.dumps(SETTINGS))
    run = [sys.executable, "-m", "jupyterlite_core", "build"]
    done = subprocess.run(run, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
    if done.returncode:
        raise OSError(f"JupyterLite's build failed:\n{done.stdout[-3000:]}")


def _front_end(name: str) -> str:
    """The folder of an installed extension of JupyterLab."""
    from jupyter_core.paths import jupyter_path

    found = (Path(root) / name for root in jupyter_path("labextensions"))
    path = next((path for path in found if (path / "package.json").exists()), None)
    if path is None:
        raise ValueError(f"JupyterLab's extension {name} is not installed: pip install -r requirements.txt")
    return str(path)
