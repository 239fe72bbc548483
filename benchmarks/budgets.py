"""What may be slow or heavy, measured against its budget: `python -m benchmarks.budgets`.

Prints a table and writes `benchmarks/budgets.json`; `--only` measures some parts, and writes nothing. Every time is a
median of several rounds, each in a fresh process or a fresh browser, except those of builds and tests, which are of
one. Where the machine would decide, the budget is for a ratio to something beside it.
"""

import argparse
import contextlib
import os
import pkgutil
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pcbook
from benchmarks import browsing
from benchmarks.faults.book import BUILD
from pcbook import records

ROOT = Path(__file__).parent.parent
RECORD = Path(__file__).parent / "budgets.json"
# The largest value that is within the budget, and its unit.
LIMITS = {
    "import without torch": (1.0, "s"),
    "import with torch": (1.5, "× import torch"),
    "cold build": (600.0, "s"),
    "warm build": (0.1, "× cold build"),
    "weight of a page": (1.5, "MB"),  # of its HTML, with all frames; the one copy of plotly has 4.6 MB
    "first figure": (3.0, "s"),
    "slider step in the book": (50.0, "ms"),
    "slider step in Jupyter": (100.0, "ms"),
    "all tests": (600.0, "s"),
    "fast tests": (60.0, "s"),
}
SLIDER = "precision-ratio"  # the chapter with the γ slider
FAST = "not slow and not browser"


def row(budget, name, value, **more):
    """A measurement and whether it is within its budget."""
    limit, unit = LIMITS[budget]
    value = float(f"{value:.4g}")
    return {"budget": budget, "name": name, "value": value, "unit": unit, "limit": limit, "met": value <= limit} | more


# Imports


def modules():
    """Every module of the package."""
    found = (module.name for module in pkgutil.walk_packages(pcbook.__path__, "pcbook."))
    return ["pcbook", *(name for name in found if name != "pcbook.__main__")]


IMPORT = "import sys, time; t = time.perf_counter(); import {}; print(time.perf_counter() - t, 'torch' in sys.modules)"


def import_time(name):
    """Seconds until a fresh interpreter has imported `name`, and whether that brings torch along."""
    command = [sys.executable, "-c", IMPORT.format(name)]
    seconds, heavy = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), heavy == "True"


def imports(options):
    import_time("torch")  # into the file cache
    for name in options.modules or modules():
        taken, beside = [], []
        for _ in range(options.rounds):
            seconds, heavy = import_time(name)
            taken.append(seconds)
            if heavy:
                beside.append(import_time("torch")[0])
        seconds = statistics.median(taken)
        if beside:
            ratio = statistics.median(a / b for a, b in zip(taken, beside, strict=True))
            yield row("import with torch", name, ratio, seconds=round(seconds, 3))
        else:
            yield row("import without torch", name, seconds)


# The build


def build(options):
    """A build of a fresh copy of the tracked files, and the same once more."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "book"
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for file in filter(None, tracked.split("\0")):
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, copy / file)
        cold, warm = (timed(BUILD, copy) for _ in range(2))
    yield row("cold build", "jupyter-book build . in a fresh copy", cold)
    yield row("warm build", "the same once more", warm / cold, seconds=round(warm, 1))


def timed(arguments, folder=ROOT):
    """Seconds that Python takes with these arguments. `CalledProcessError` if it fails."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PCBOOK_STATIC", "PYTHONPATH")}
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if result.returncode:
        sys.exit(f"python {' '.join(arguments)} failed:\n{result.stdout.decode(errors='replace')[-3000:]}")
    return time.perf_counter() - start


# The pages, in headless Chromium that draws in software

LOADED = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .reduce((sum, entry) => sum + entry.encodedBodySize, 0)"""
# Resolves once the first figure that the reader meets is drawn, with the milliseconds since the page was asked for.
FIRST = """() => new Promise(resolve => {
    const first = document.querySelector(".pc-explorer");
    first.scrollIntoView();
    const look = () => first.querySelector(".pc-panel .main-svg") && first.dataset.frame !== undefined
        ? setTimeout(() => resolve(performance.now())) : requestAnimationFrame(look);
    look();
})"""


def pages(options):
    """Each page: its weight, and how long its first figure takes, from the request on, with an empty cache."""
    site = built()
    with browsing.served(site) as address, browsing.chromium() as chromium:
        for path in sorted((site / "book").glob("*.html")):
            text = path.read_bytes()
            figures = b'class="pc-explorer"' in text
            times, loaded = [], 0
            for _ in range(options.rounds):
                context = chromium.new_context(viewport={"width": 1280, "height": 900})
                page = context.new_page()
                page.goto(f"{address}book/{path.name}", wait_until="load")
                times += [page.evaluate(FIRST) / 1000] if figures else []
                loaded = page.evaluate(LOADED)
                context.close()
            yield row("weight of a page", path.stem, len(text) / 1e6, loaded=round(loaded / 1e6, 2))
            if figures:
                yield row("first figure", path.stem, statistics.median(times))


def built():
    """The folder of the built book."""
    site = ROOT / "_build" / "html"
    if not (site / "book" / f"{SLIDER}.html").exists():
        sys.exit("the book is not built: jupyter-book build .")
    return site


# From the key's time stamp until the frame that shows the new figure has been handed over.
STEPS = """slider => {
    window.latencies = [];
    slider.addEventListener("input", event => requestAnimationFrame(() => setTimeout(() =>
        window.latencies.push(performance.now() - event.timeStamp))));
}"""


def slider(options):
    """Keys on the γ slider of the static page: milliseconds from the key to the new figure."""
    with browsing.served(built()) as address, browsing.chromium() as chromium:
        page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.goto(f"{address}book/{SLIDER}.html", wait_until="load")
        gamma = page.locator(".pc-control input[aria-label*='γ']").first
        gamma.scroll_into_view_if_needed()
        page.wait_for_selector(".pc-explorer[data-frame] .main-svg")
        gamma.evaluate(STEPS)
        gamma.focus()
        for k in range(options.steps):
            page.keyboard.press("ArrowRight" if (k // 8) % 2 else "ArrowLeft")
            browsing.wait_until(page, "k => window.latencies.length > k", k)
            page.wait_for_timeout(50)
        latencies = page.evaluate("window.latencies")[2:]  # the first ones warm up
    yield row("slider step in the book", SLIDER, statistics.median(latencies), **spread(latencies))


def spread(values):
    return {"rounds": len(values), "low": round(min(values), 1), "high": round(max(values), 1)}


# From the key's time stamp until the last panel has drawn what the kernel sent.
ROUND_TRIP = """slider => {
    window.key = 0, window.drawn = 0;
    slider.addEventListener("keydown", event => { window.key = event.timeStamp; }, true);
    document.querySelectorAll(".js-plotly-plot").forEach(plot =>
        plot.on("plotly_afterplot", () => requestAnimationFrame(() => setTimeout(() => {
            window.drawn = performance.now(); }))));
}"""
QUIET = "() => window.drawn > window.key && performance.now() - window.drawn > 400"


def jupyter(options):
    """Keys on the γ slider in JupyterLab: to the kernel, which computes the figure, and back."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lab = stack.enter_context(browsing.jupyterlab(folder))
        page = stack.enter_context(browsing.chromium()).new_page(viewport={"width": 1280, "height": 1000})
        page.goto(f"{lab}/lab/tree/{SLIDER}.ipynb")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
        browsing.run_all(page)
        gamma = page.locator(".widget-slider:has-text('γ') [role=slider]").first
        gamma.scroll_into_view_if_needed()
        page.wait_for_function("document.querySelector('.js-plotly-plot .main-svg') !== null", timeout=60_000)
        page.wait_for_timeout(2000)
        gamma.evaluate(ROUND_TRIP)
        gamma.focus()
        latencies = []
        for k in range(options.steps):
            page.keyboard.press("ArrowRight" if (k // 8) % 2 else "ArrowLeft")
            page.wait_for_function(QUIET)
            latencies.append(page.evaluate("window.drawn - window.key"))
    latencies = latencies[2:]
    yield row("slider step in Jupyter", SLIDER, statistics.median(latencies), **spread(latencies))


# The tests


def tests(options):
    """The whole suite and its fast part, on all cores, with the book built and notebooks executed by the suite."""
    yield row("fast tests", f"pytest -m '{FAST}'", timed(["-m", "pytest", "-q", "-m", FAST]), cores=os.cpu_count())
    shutil.rmtree(ROOT / "_build", ignore_errors=True)
    yield row("all tests", "pytest, no book built before", timed(["-m", "pytest", "-q"]), cores=os.cpu_count())


PARTS = {"imports": imports, "build": build, "pages": pages, "slider": slider, "jupyter": jupyter, "tests": tests}


def main(line=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, help="parts to measure; nothing is recorded")
    parser.add_argument("--rounds", type=int, default=5, help="of each import and each page")
    parser.add_argument("--steps", type=int, default=42, help="of the slider")
    parser.add_argument("--modules", nargs="+", metavar="MODULE", help="of the imports (all)")
    parser.add_argument("--output", type=Path, default=RECORD, help="where the record goes")
    options = parser.parse_args(line)
    start, rows = time.perf_counter(), []
    for part in options.only or PARTS:
        for found in PARTS[part](options):
            rows.append({"part": part, **found})
            show(rows[-1])
    missed = [r for r in rows if not r["met"]]
    print(f"{len(rows) - len(missed)} of {len(rows)} within their budgets")
    configuration = {
        "rounds": options.rounds,
        "steps": options.steps,
        "limits": {k: list(v) for k, v in LIMITS.items()},
    }
    environment = records.describe(("torch", "numpy", "plotly", "jupyter-book", "jupyterlab", "playwright"))
    record = records.new(
        "budgets", configuration, {"rows": rows}, environment=environment, wall_clock=time.perf_counter() - start
    )
    if not options.only:
        print(records.save(options.output, record))
    return record


def show(found):
    mark = "met   " if found["met"] else "MISSED"
    value = f"{found['value']:.3g} of {found['limit']:g} {found['unit']}"
    print(f"{mark}  {value:28}  {found['budget']}: {found['name']}", flush=True)


if __name__ == "__main__":
    sys.exit(any(not r["met"] for r in main()["results"]["rows"]))
