"""Sphinx configuration; `make docs` builds the pages, without network."""

import re

import skfhe

project = "skfhe"
author = "the skfhe developers"
version = release = skfhe.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "numpydoc",
]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_typehints = "none"
autodoc_member_order = "bysource"
# Members are listed by autodoc; numpydoc's own tables would ask for stub pages.
numpydoc_show_class_members = False

html_theme = "furo"
html_title = "skfhe"
html_show_sourcelink = False


def escape_prose(app, what, name, obj, options, lines):
    """Keep |x| and a shape (n_features_in_,) from being read as reStructuredText markup."""
    for i, line in enumerate(lines):
        if "`" not in line:
            line = re.sub(r"\((\w+)_,\)", r"(\1\\_,)", line)
            lines[i] = re.sub(r"\|(?=\S)", r"\\|", line)


def setup(app):
    app.connect("autodoc-process-docstring", escape_prose, priority=400)
