"""Checks that links within a built site lead somewhere: `python tests/site_links.py FOLDER`.

Every file and every anchor that is linked from the first page on must be there. Links to other
sites are not followed: `make docs-links` does that.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Anchors that a page has, and what it links to, with lines."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links = {"", "top"}, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found.get("id"), found.get("name") if tag == "a" else None}
        targets = [found.get("href"), found.get("src"), found.get("poster")]
        sources = (found.get("srcset") or "").split(",")
        targets += [source.split()[0] for source in sources if source.strip()]
        self.links += [(self.getpos()[0], one) for one in targets if one is not None]


def broken_links(folder):
    """A line for every local link that leads nowhere; how many links and pages were read."""
    folder = Path(folder).resolve()
    first = folder / "index.html"
    pages, waiting, n_links, broken = {first: Page(first)}, [first], 0, []

    def page(path):
        if path not in pages:
            pages[path] = Page(path)
            waiting.append(path)
        return pages[path]

    while waiting:
        path = waiting.pop()
        for line, link in page(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            n_links += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            where = f"{path.relative_to(folder)}:{line}: {link}"
            if not (target.is_relative_to(folder) and target.is_file()):
                broken.append(f"{where}: no such file")
            elif target.suffix == ".html" and unquote(parts.fragment) not in page(target).anchors:
                broken.append(f"{where}: no such anchor")
    return sorted(broken), n_links, len(pages)


if __name__ == "__main__":
    lines, n_links, n_pages = broken_links(sys.argv[1])
    print(*lines, f"links: {n_links} on {n_pages} pages, {len(lines)} broken", sep="\n")
    sys.exit(bool(lines))
