"""The ledger as a page: every claim with its verdict, in the paper's order, which book/_static/ledger.js filters."""

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from IPython.display import HTML, display

from pcbook import chapters, claims, verdicts
from pcbook.page import is_static
from pcbook.verdicts import Verdict

FILTERS = {"verdict": "Verdict", "part": "Part of the paper", "chapter": "Chapter"}


def counts(found: Mapping[str, Verdict]) -> str:
    """A Markdown table of the outcomes in `found` ({id: `Verdict`}), how often each came out, and what it means."""
    count = Counter(verdict.outcome for verdict in found.values())
    rows = [f"| {name} | {count[name]} | {words} |" for name, words in verdicts.OUTCOMES.items()]
    return "\n".join([f"| verdict | of {len(found)} claims | what it says |", "|---|---|---|", *rows])


def show(found: Mapping[str, Verdict], folder: str | Path = ".") -> None:
    """Display `found`, {id: `Verdict`}, as a list; `folder` holds the chapters, whose titles it names."""
    display(HTML(to_html(found, {slug: chapter.title for slug, chapter in chapters.read_all(folder).items()})))


def to_html(found: Mapping[str, Verdict], titles: Mapping[str, str]) -> str:
    """The list: an article for each claim, below a form that stays hidden where there is no script to answer it."""
    rows = [claims.CLAIMS[claim_id] for claim_id in sorted(found, key=place)]
    facts = {row.id: {"verdict": found[row.id].outcome, "part": row.part, "chapter": row.chapter} for row in rows}
    order = {"verdict": verdicts.OUTCOMES, "part": claims.PARTS.values(), "chapter": titles}
    choices = "".join(
        choice(name, label, order[name], Counter(fact[name] for fact in facts.values()), titles)
        for name, label in FILTERS.items()
    )
    articles = "".join(article(row, found[row.id], facts[row.id], titles[row.chapter]) for row in rows)
    return (
        '<div class="pc-ledger"><form class="pc-filter" role="search" aria-label="Filter the claims" '
        f'autocomplete="off" hidden>{choices}<label>With the words <input type="search" name="text"></label>'
        '<button type="reset">Show all</button><output aria-live="polite"></output></form>'
        f"{articles}</div>"
    )


def place(claim_id: str) -> tuple[int, int]:
    """Where a claim stands in the list: by part of the paper, then by number."""
    return list(claims.PARTS).index(claim_id[0]), int(re.findall(r"\d+", claim_id)[0])


def choice(name: str, label: str, values: Iterable[str], count: Mapping[str, int], titles: Mapping[str, str]) -> str:
    """A menu of those `values` that occur, each with how often."""
    options = "".join(
        f'<option value="{html.escape(value)}">{html.escape(titles.get(value, value))} ({count[value]})</option>'
        for value in values
        if count[value]
    )
    return f'<label>{label} <select name="{name}"><option value="">all</option>{options}</select></label>'


def article(claim: claims.Claim, verdict: Verdict, facts: Mapping[str, str], title: str) -> str:
    """One claim: what it says, where it is treated, the verdict with its evidence, the function and the test."""
    data = " ".join(f'data-{name}="{html.escape(value)}"' for name, value in facts.items())
    target = f"{claim.chapter}.html#{claim.anchor}" if is_static() else f"{claim.chapter}.ipynb"
    return (
        f'<article class="pc-claim" id="{claim.anchor.replace("claim", "row")}" {data}><h3>{claim.id}</h3>'
        f"<p>{html.escape(claim.says)}</p>"
        f'<p>{claim.source}. Treated in <a href="{target}">{html.escape(title)}</a>.</p>{verdict._repr_html_()}'
        f"<p>Tested by <code>{claim.test}</code>.</p></article>"
    )
