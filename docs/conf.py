"""Sphinx configuration; `make docs` builds the pages, without network."""

import re
import sys
from pathlib import Path

import skfhe

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "skfhe"
author = "the skfhe developers"
version = release = skfhe.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # pages show formulas without network, too
    "numpydoc",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "review_tables",
    "reference",
]
nitpicky = False  # types in docstrings are prose ("array-like of shape (n, d)"), not names
myst_enable_extensions = ["colon_fence", "dollarmath", "amsmath", "deflist", "attrs_block"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "gallery/*.ipynb", "gallery/*.md5"]

autodoc_typehints = "none"
autodoc_member_order = "bysource"
default_role = "py:obj"  # names in single backticks link to where the reference has them
toc_object_entries_show_parents = "hide"
# Members are listed by autodoc; numpydoc's own tables would ask for stub pages.
numpydoc_show_class_members = False
numpydoc_xref_param_type = True  # classes link in types; all other words are prose
numpydoc_xref_ignore = "all"
copybutton_exclude = ".linenos, .gp, .go"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"demo\.py",
    "within_subsection_order": "gallery_order.reading_order",
    "abort_on_example_error": True,
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("skfhe",),
    "capture_repr": ("_repr_html_",),  # cards and diagrams; what returns plots says nothing
    "remove_config_comments": True,
    "plot_gallery": "True",
    "min_reported_time": 0,
    "write_computation_times": False,  # a page that nothing leads to; times are on each page
    "image_srcset": ["2x"],
}

html_theme = "pydata_sphinx_theme"
html_title = "skfhe"
html_static_path = ["_static"]
html_css_files = ["skfhe.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "skfhe"},
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copyright = "the skfhe developers, Apache-2.0"
html_sidebars = {"start": [], "glossary": [], "changelog": []}


def escape_prose(app, what, name, obj, options, lines):
    """Keep |x| and a shape (n_features_in_,) from being read as reStructuredText markup."""
    for i, line in enumerate(lines):
        if "`" not in line:
            line = re.sub(r"\((\w+)_,\)", r"(\1\\_,)", line)
            lines[i] = re.sub(r"\|(?=\S)", r"\\|", line)


def setup(app):
    app.connect("autodoc-process-docstring", escape_prose, priority=400)
