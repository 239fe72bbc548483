"""What screen readers need beyond what the theme and docutils write."""

from pathlib import Path

from docutils import nodes


def add_templates(app, config):
    """The book's templates go before the theme's."""
    config.templates_path.insert(0, str(Path(__file__).parent.parent / "_templates"))


def visit_entry(writer, node):
    """A header without a word would be read as one: an ordinary cell instead."""
    type(writer).visit_entry(writer, node)
    if not node.astext().strip():
        writer.body[-1] = writer.body[-1].replace("<th", "<td", 1)
        writer.context[-1] = writer.context[-1].replace("</th", "</td", 1)


def visit_citation(writer, node):
    """An item of the list around it: docutils gives it a role that is deprecated."""
    type(writer).visit_citation(writer, node)
    old, new = 'role="doc-biblioentry"', 'role="listitem"'
    writer.body[-1] = writer.body[-1].replace(old, new, 1)


def depart(name):
    """What the writer itself does at the end of such a node."""
    return lambda writer, node: getattr(type(writer), f"depart_{name}")(writer, node)


def setup(app):
    app.connect("config-inited", add_templates)
    app.add_node(nodes.entry, True, html=(visit_entry, depart("entry")))
    app.add_node(nodes.citation, True, html=(visit_citation, depart("citation")))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
