"""What the book needs beyond Jupyter Book: one Sphinx event handler per concern.

Warnings fail the build; the execution cache is keyed by the code it ran; every asset
is local.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import sys
from pathlib import Path

from docutils import nodes
from filelock import FileLock, Timeout

COMPUTED_FROM = (
    "pcbook/**/*.py",
    "book/records/**/*.json",
    "requirements.txt",
    "requirements.lock",
)
DRESSED_WITH = ("book/_static/*", "book/_templates/*", "book/_ext/*.py")


def digest(root, patterns):
    """SHA-256 over the names and contents of the files that match."""
    files = sorted(
        {
            path
            for pattern in patterns
            for path in Path(root).glob(pattern)
            if path.is_file()
        }
    )
    total = hashlib.sha256()
    for path in files:
        total.update(
            f"{path.relative_to(root)}\0".encode()
            + hashlib.sha256(path.read_bytes()).digest()
        )
    return total.hexdigest()[:16]


def front_matter(root):
    """What chapters say of themselves and the landing page's map is drawn from."""
    from pcbook import chapters

    book = chapters.read_all(Path(root) / "book").values()
    return repr([(c.slug, c.title, c.prerequisites, c.minutes) for c in book]).encode()


def take_turns(app, config):
    """One build of a checkout at a time: a second waits, until the first has ended."""
    folder = Path(app.outdir).parent
    folder.mkdir(parents=True, exist_ok=True)
    app.pcbook_lock = FileLock(folder / ".building")  # held until the process ends
    try:
        app.pcbook_lock.acquire(timeout=0)
    except Timeout:
        print(f"another build is under way in {folder}: waiting for it", flush=True)
        app.pcbook_lock.acquire()


def find_edits(app, env, added, changed, removed):
    """Pages whose content is another than when they were read, whatever the clock says.

    Sphinx compares times, and would miss an edit after the clock was set back.
    """
    before = getattr(env, "pcbook_sources", {})
    env.pcbook_sources = {
        name: hashlib.sha256(Path(env.doc2path(name)).read_bytes()).hexdigest()
        for name in env.found_docs
    }
    return [
        name
        for name, found in env.pcbook_sources.items()
        if before.get(name, found) != found
    ]


def prepare_execution(app, config):
    """Kernels import this checkout and draw for the page.

    A changed package finds an empty cache, and Sphinx reads all pages again when
    `nb_execution_cache_path` changes: no page keeps an old output.
    """
    os.environ["PCBOOK_STATIC"] = "1"
    # Threads that spin while they wait starve one another on a busy machine: a minute
    # and a half for a cell of one second, and the build stops with a timeout.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    root = str(Path(app.srcdir).resolve())
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, (root, os.environ.get("PYTHONPATH")))
    )
    sys.path.insert(0, root)
    caches = Path(app.outdir).parent / ".jupyter_cache"
    said = hashlib.sha256(front_matter(root)).hexdigest()[:8]
    current = f"{digest(root, COMPUTED_FROM)}-{said}"
    for old in caches.glob("*/"):
        if old.name != current:
            shutil.rmtree(old)
    config.nb_execution_cache_path = str(caches / current)


def add_assets(app, config):
    """The book's scripts and style; `pcbook_assets` makes Sphinx rewrite all pages."""
    config.pcbook_assets = digest(app.srcdir, DRESSED_WITH)
    config.html_static_path.append(str(Path(__file__).parent.parent / "_static"))
    app.add_css_file("pcbook.css")
    for script in ("pcbook.js", "ticks.js"):
        app.add_js_file(script, loading_method="defer")


def add_filter(app, pagename, templatename, context, doctree):
    """The ledger's script, on the page that has something to filter."""
    if "pc-filter" in context.get("body", ""):
        app.add_js_file("ledger.js", loading_method="defer")


def write_reference(app, docname, source):
    """A line `% api: onemlp` of a page becomes the reference of that module."""
    if "\n% api:" not in source[0]:
        return
    from pcbook import reference

    book = Path(app.srcdir) / "book"
    source[0] = re.sub(
        r"^% api: ?(\w*)$",
        lambda line: reference.text(line[1], book),
        source[0],
        flags=re.MULTILINE,
    )


def link_names(app, doctree, docname):
    """Inline code that names a function of the reference links to its entry."""
    from pcbook import reference

    labels = app.env.get_domain("std").anonlabels
    for literal in list(doctree.findall(nodes.literal)):
        home, target = labels.get(reference.label(literal.astext()), ("", ""))
        linked = isinstance(literal.parent, nodes.reference | nodes.title)
        if home and home != docname and not linked:
            uri = f"{app.builder.get_relative_uri(docname, home)}#{target}"
            link = nodes.reference("", "", internal=True, refuri=uri)
            literal.replace_self(link)
            link.append(literal)


def drop_thebe(app):
    """Jupyter Book loads sphinx-thebe, whose script raises an error on every page."""
    for listeners in app.events.listeners.values():
        listeners[:] = [
            entry
            for entry in listeners
            if not entry.handler.__module__.startswith("sphinx_thebe")
        ]


def vendor(app, exception):
    """Copy what pages would fetch from a CDN: plotly once, MathJax with its fonts."""
    if exception or app.builder.format != "html":
        return
    from pcbook.figures import TEMPLATES

    target = Path(app.outdir) / "_static" / "vendor"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(_package("plotly") / "package_data" / "plotly.min.js", target)
    templates = {
        mode: template.to_plotly_json() for mode, template in TEMPLATES.items()
    }
    (target / "plotly-templates.js").write_text(
        f"window.PCBOOK_TEMPLATES = {json.dumps(templates)};\n"
    )
    if not (Path(app.outdir) / "lite").exists():  # see pcbook/lite.py
        (target / "lite.js").write_text("window.PCBOOK_LITE = [];\n")
    mathjax = _package("sphinx-mathjax-offline") / "static" / "mathjax"
    for part in ("tex-chtml.js", "output/chtml/fonts", "a11y", "sre"):
        copy = shutil.copytree if (mathjax / part).is_dir() else shutil.copy
        options = {"dirs_exist_ok": True} if copy is shutil.copytree else {}
        (target / "mathjax" / part).parent.mkdir(parents=True, exist_ok=True)
        copy(mathjax / part, target / "mathjax" / part, **options)


def _package(name):
    return Path(importlib.util.find_spec(name).origin).parent


def setup(app):
    app.keep_going = (
        True  # Sphinx then returns 1 if there was any warning, as with -W --keep-going
    )
    app.add_config_value("pcbook_assets", "", "html")
    app.connect("config-inited", take_turns)
    app.connect("config-inited", prepare_execution)
    app.connect("config-inited", add_assets)
    app.connect("builder-inited", drop_thebe)
    app.connect("env-get-outdated", find_edits)
    app.connect("source-read", write_reference)
    app.connect("doctree-resolved", link_names)
    app.connect("html-page-context", add_filter)
    app.connect("build-finished", vendor)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
