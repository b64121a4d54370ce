"""The reference: links from docstrings to proofs and to other names, and quotes as typed."""

import re
from pathlib import Path

from docutils import nodes

# "docs/proofs/accounting.md", and "statement 6", "statements 7 and 8", "statements 11 to 15".
_PAGE = re.compile(r"docs/proofs/(\w+)\.md")
_STATEMENTS = re.compile(r"statements? \d+[a-z]?(?: (?:and|to) \d+[a-z]?)?")


def link_proofs(app, what, name, obj, options, lines):
    """Make links of citations, before numpydoc takes the docstring apart."""
    text = _PAGE.sub(r":doc:`\1 </proofs/\1>`", "\n".join(lines))
    text = _STATEMENTS.sub(
        lambda found: re.sub(r"\d+[a-z]?", r":ref:`\g<0> <statement-\g<0>>`", found.group()), text
    )
    lines[:] = text.split("\n")


def link_types(app, config):
    """Classes of the reference link where they are the type of a parameter, and nothing else."""
    found = []
    for page in Path(app.srcdir, "api").glob("*.md"):
        found += re.findall(r"^\.\. autoclass:: ([\w.]+)$", page.read_text(), re.M)
    config.numpydoc_xref_aliases_complete = {name.rpartition(".")[2]: name for name in found}


def find_class(app, env, node, contnode):
    """A class, or a member of one, by its short name: `KeyHolder.release`."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target[:1].isupper():
        return None
    domain = env.get_domain("py")
    found = [name for name in domain.objects if name.endswith("." + target)]
    if len(found) != 1:
        return None
    entry = domain.objects[found[0]]
    uri = app.builder.get_relative_uri(node["refdoc"], entry.docname)
    return nodes.reference("", "", contnode, internal=True, refuri=f"{uri}#{entry.node_id}")


def straight_quotes(app, domain, objtype, content):
    """Docstrings quote values of parameters, which are typed with straight quotes."""
    content["support_smartquotes"] = False


def setup(app):
    app.connect("config-inited", link_types, priority=600)  # after numpydoc
    app.connect("autodoc-process-docstring", link_proofs, priority=450)
    app.connect("object-description-transform", straight_quotes)
    app.connect("missing-reference", find_class)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
