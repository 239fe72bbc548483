"""A Content-Security-Policy in every page: what it may load and run.

Nothing from other sites, no evaluation of text, and of inline scripts only those that
the build wrote, known by their hashes. A page carries its own policy, so that it also
holds where a host sends no headers, and in a page opened from a file.
"""

import base64
import hashlib
import re
from pathlib import Path

# For `style-src`: plotly and MathJax set styles of single elements.
POLICY = (
    "default-src 'self'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'"
)
SCRIPT = re.compile(r"<script(?P<attributes>[^>]*)>(?P<text>.*?)</script>", re.DOTALL)
DATA = re.compile(r'\bsrc=|type="application/json"')  # nothing to run, or elsewhere
HANDLER = re.compile(r' onclick="([^"]*)"')
START = re.compile(r'<meta charset="utf-8" ?/?>', re.IGNORECASE)


def policy(page):
    """The policy of a page: its inline scripts by their SHA-256."""
    inline = {
        s["text"] for s in SCRIPT.finditer(page) if not DATA.search(s["attributes"])
    }
    digests = (hashlib.sha256(text.encode()).digest() for text in inline)
    hashes = sorted(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)
    return POLICY.format(hashes=" ".join(hashes))


def sealed(page):
    """The page with its policy; what a button does on a click is left to pcbook.js."""
    if 'http-equiv="Content-Security-Policy"' in page:
        return page
    page = HANDLER.sub(r' data-pc-click="\1"', page)
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy(page)}" />'
    return START.sub(lambda found: f"{found[0]}\n    {meta}", page, count=1)


def seal(app, exception):
    """Every page that was written, when nothing more is added to it."""
    if exception or app.builder.format != "html":
        return
    home = Path(app.outdir)
    for path in [*home.glob("*.html"), *home.glob("book/**/*.html")]:
        before = path.read_text(encoding="utf-8")
        if (after := sealed(before)) != before:
            path.write_text(after, encoding="utf-8")


def setup(app):
    app.connect("build-finished", seal, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
