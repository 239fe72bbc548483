"""The policy of built pages: what they may load and run. That all works under it, tests/test_browser.py sees."""

import base64
import hashlib
import importlib
import re

import pytest
from conftest import ROOT, toc_pages

PAGE = """<html><head>
    <meta charset="utf-8" /><script>let a = 1;</script><script src="b.js"></script>
    <script type="application/json">{"c": 3}</script></head>
<body><button onclick="window.print()">Print</button></body></html>"""
META = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)" />')


@pytest.fixture
def extension(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    return importlib.import_module("pcbook_policy")


def directives(policy):
    return {name: values for name, *values in (part.split() for part in policy.split(";"))}


def test_a_page_gets_the_hashes_of_its_own_scripts_once_and_early(extension):
    page = extension.sealed(PAGE)
    [policy] = META.findall(page)
    digest = base64.b64encode(hashlib.sha256(b"let a = 1;").digest()).decode()
    assert directives(policy)["script-src"] == ["'self'", f"'sha256-{digest}'"]
    assert page.index("charset") < page.index("Content-Security-Policy") < page.index("<script")
    assert "onclick" not in page and '<button data-pc-click="window.print()">' in page
    assert extension.sealed(page) == page


@pytest.mark.slow
def test_every_page_has_a_strict_policy(site):
    pages = [*site.glob("book/*.html"), site / "search.html", site / "genindex.html"]
    assert len(pages) > len(toc_pages())
    script = (ROOT / "book" / "_static" / "pcbook.js").read_text(encoding="utf-8")
    for path in pages:
        text = path.read_text(encoding="utf-8")
        [policy] = META.findall(text)
        found = directives(policy)
        assert found["default-src"] == ["'self'"] and found["object-src"] == ["'none'"]
        assert all(source == "'self'" or source.startswith("'sha256-") for source in found["script-src"])
        assert not re.search(r"<[^>]*\son\w+=", text.partition("<article")[0]), "code in an attribute"
        assert all(f'"{does}"' in script for does in re.findall(r'data-pc-click="([^"]*)"', text))


TRIES = """() => new Promise((resolve) => {
    const refused = [];
    document.addEventListener("securitypolicyviolation", (event) =>
        refused.push(`${event.effectiveDirective} ${event.blockedURI}`));
    document.body.append(Object.assign(document.createElement("script"), { text: "window.ran = 'inline'" }));
    document.body.append(Object.assign(document.createElement("script"), { src: "https://example.org/x.js" }));
    document.body.append(Object.assign(document.createElement("img"), { src: "https://example.org/x.png" }));
    const button = document.createElement("button");
    button.setAttribute("onclick", "window.ran = 'handler'");
    button.click();
    setTimeout(() => {
        try { eval("window.ran = 'text'"); } catch (error) { refused.push(error.name); }
        setTimeout(() => resolve([window.ran ?? null, refused.sort()]), 200);
    });
})"""
REFUSED = [
    "EvalError",
    "img-src https://example.org/x.png",
    "script-src eval",
    "script-src-attr inline",
    "script-src-elem https://example.org/x.js",
    "script-src-elem inline",
]


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("header", [False, True], ids=["in the page", "as a header"])
def test_a_page_works_under_its_policy_and_runs_nothing_else(browser, served, header):
    """The strict policy as the page has it, and sent by the server as well, where no page may frame it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, problems = context.new_page(), []
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))

    def strict(route):
        answer = route.fetch()
        policy = META.search(answer.text())[1] + "; frame-ancestors 'none'"
        route.fulfill(response=answer, headers=answer.headers | {"content-security-policy": policy})

    if header:
        page.route("**/*.html", strict)
    page.goto(f"{served}{toc_pages()[0]}.html")
    page.wait_for_selector(".pc-explorer[data-frame] .main-svg")
    before = page.locator(".pc-explorer").first.get_attribute("data-frame")
    page.locator("input[type=range]").first.press("ArrowRight")
    page.wait_for_selector(f".pc-explorer:not([data-frame='{before}'])")
    page.evaluate("window.print = () => { window.printed = true; }")
    page.evaluate("document.querySelector('[data-pc-click=\"window.print()\"]').click()")
    assert page.evaluate("window.printed")
    page.goto(f"{served}search.html?q=saddle")
    page.wait_for_selector("#search-results li a")
    assert problems == []
    ran, refused = page.evaluate(TRIES)
    assert ran is None
    assert refused == sorted(REFUSED)
    context.close()
