"""Buttons that run a chapter on Binder or Colab, and the words about them.

One setting is behind both: `repository.url` in _config.yml.
"""

ELSEWHERE = """
### Without installing anything

The rocket at the top of a chapter opens it on somebody else's machine.
It forgets what you did there.

**Binder** brings everything along.
The first start after a change of the book takes some minutes.

**Colab** needs a Google account, and begins without the book's package.
Run this first, in a cell of its own:

```python
!git clone --quiet --depth 1 --branch {branch} {url} book-source
%cd book-source
%pip install --quiet -e .
from google.colab import output
output.enable_custom_widget_manager()
```

The figures under a kernel are made for Jupyter.
Where Colab does not show one, the page you are reading does.
"""


def configure(app, config):
    """Without an address no buttons, rather than dead ones; Colab reads GitHub only."""
    options = config.html_theme_options
    url = options.get("repository_url", "").rstrip("/").removesuffix(".git")
    options["repository_url"] = url
    options["use_repository_button"] = bool(url)
    if not url:
        options["launch_buttons"] = {}
    elif "github.com/" not in url:
        options["launch_buttons"] = options["launch_buttons"] | {"colab_url": ""}


def write_elsewhere(app, docname, source):
    """A line `% elsewhere` becomes the words about the buttons, where there are any."""
    options = app.config.html_theme_options
    url, branch = options["repository_url"], options["repository_branch"]
    section = ELSEWHERE.format(url=url, branch=branch) if url else ""
    source[0] = source[0].replace("\n% elsewhere\n", section)


def setup(app):
    app.connect("config-inited", configure)
    app.connect("source-read", write_elsewhere)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
