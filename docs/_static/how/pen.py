"""Boxes, arrows and text as plain SVG: what `draw.py` draws with.

A drawing is 580 units wide. No text is smaller than 20 units, which are 12 pixels where a page
is as narrow as a telephone's. It has a light background of its own, for light and dark pages.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

WIDTH, MARGIN = 580, 20
INK, GREY, RULE = "#16202a", "#4d5863", "#8b96a1"
# Fill and edge by what is in a box; the icon says the same without colour.
KINDS = {
    "plain": ("#ffffff", "#4d5863"),
    "locked": ("#d6e8f7", "#0072b2"),
    "noised": ("#fce5bd", "#a86400"),
    "public": ("#d5efe3", "#007a5a"),
    "page": ("#fafaf7", "#c9ced3"),
}
_FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"


class Pen:
    """Draws from the top down; `y` is where the next thing begins."""

    def __init__(self, width: int = WIDTH, top: float = MARGIN):
        self.width, self.y = width, top
        self._parts: list[str] = []

    @property
    def inner(self) -> float:
        return self.width - 2 * MARGIN

    def add(self, tag: str, content: str = "", **attributes) -> None:
        names = "".join(
            f' {name.replace("_", "-")}="{escape(_number(value), quote=True)}"'
            for name, value in attributes.items()
        )
        self._parts.append(f"<{tag}{names}>{content}</{tag}>" if content else f"<{tag}{names}/>")

    def text(self, x, y, *lines, size=20, anchor="start", bold=False, fill=INK, leading=26):
        """Lines of text, the first one's baseline at y; *...* is set in italics."""
        for i, line in enumerate(lines):
            parts = escape(line, quote=False).split("*")
            content = "".join(
                f'<tspan font-style="italic">{part}</tspan>' if j % 2 else part
                for j, part in enumerate(parts)
            )
            more = {"font_weight": "bold"} if bold else {}
            self.add("text", content, x=x, y=y + i * leading, font_size=size,
                     text_anchor=anchor, fill=fill, **more)  # fmt: skip

    def line(self, *points, color=INK, width=2.5, dash=""):
        d = "M" + " L".join(f"{_number(x)} {_number(y)}" for x, y in points)
        more = {"stroke_dasharray": dash} if dash else {}
        self.add("path", d=d, fill="none", stroke=color, stroke_width=width, **more)

    def arrow(self, start, end, color=INK):
        """A straight arrow, along an axis."""
        (x, y), (a, b) = start, end
        dx, dy = (a > x) - (a < x), (b > y) - (b < y)
        self.line(start, (a - 10 * dx, b - 10 * dy), color=color)
        tip = [(a, b), (a - 14 * dx + 7 * dy, b - 14 * dy + 7 * dx)]
        tip.append((a - 14 * dx - 7 * dy, b - 14 * dy - 7 * dx))
        points = " ".join(f"{_number(p)},{_number(q)}" for p, q in tip)
        self.add("polygon", points=points, fill=color)

    def rect(self, x, y, w, h, kind="plain", radius=8, width=2):
        fill, edge = KINDS[kind]
        self.add("rect", x=x, y=y, width=w, height=h, rx=radius, fill=fill, stroke=edge,
                 stroke_width=width)  # fmt: skip

    def icon(self, kind, x, y, size=22):
        """A padlock, a wave or nothing, its middle at (x, y)."""
        edge, s = KINDS[kind][1], size
        if kind == "locked":
            self.add("path", d=f"M{x - 0.24 * s:g} {y:g} v{-0.2 * s:g} a{0.24 * s:g} "
                     f"{0.26 * s:g} 0 0 1 {0.48 * s:g} 0 v{0.2 * s:g}", fill="none", stroke=edge,
                     stroke_width=2.6)  # fmt: skip
            self.add("rect", x=x - 0.38 * s, y=y - 0.05 * s, width=0.76 * s, height=0.56 * s,
                     rx=3, fill=edge)  # fmt: skip
        elif kind == "noised":
            step = s / 4
            zigzag = [(x + (i - 3) * step * 0.8, y + (-1) ** i * s * 0.24) for i in range(7)]
            self.line(*zigzag, color=edge, width=2.6)

    def stack(self, kind, title, *lines, indent=16):
        """A box over the whole width, with a title."""
        height = 26 * len(lines) + (48 if title else 20)
        self.rect(MARGIN, self.y, self.inner, height, kind)
        baseline = self.y + 31
        if title:
            self.text(MARGIN + indent, baseline, title, size=21, bold=True)
            self.icon(kind, self.width - MARGIN - 26, self.y + 24)
            baseline += 28
        self.text(MARGIN + indent, baseline, *lines)
        self.y += height

    def between(self, down=(), up=(), x=46, middle=330):
        """Arrows to the next box and back: (kinds, text) for every line of text."""
        height = 26 * max(len(down), len(up)) + 24
        for at, lines, ends in ((x, down, (3, height - 3)), (middle, up, (height - 3, 3))):
            if not lines:
                continue
            self.arrow((at, self.y + ends[0]), (at, self.y + ends[1]))
            for i, (kinds, words) in enumerate(lines):
                left, baseline = at + 18, self.y + 31 + 26 * i
                for kind in kinds.split():
                    self.icon(kind, left + 9, baseline - 8, 20)
                    left += 28
                self.text(left, baseline, words)
        self.y += height

    def legend(self, *entries):
        """(kind, word) in one line."""
        x = MARGIN
        for kind, word in entries:
            self.rect(x, self.y, 34, 28, kind, radius=6)
            self.icon(kind, x + 17, self.y + 15, 18)
            self.text(x + 42, self.y + 21, word)
            x += 42 + 11 * len(word) + 16
        self.y += 28

    def save(self, path: Path, title: str) -> None:
        """The drawing as a file, on a light panel of its own."""
        height = self.y + MARGIN
        fill, edge = KINDS["page"]
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {_number(height)}"'
            f' width="{self.width}" height="{_number(height)}" role="img" font-family="{_FONT}">'
        )
        panel = (
            f'<rect x="1" y="1" width="{self.width - 2}" height="{_number(height - 2)}" rx="14" '
            f'fill="{fill}" stroke="{edge}" stroke-width="1.5"/>'
        )
        body = [head, f"<title>{escape(title)}</title>", panel, *self._parts, "</svg>", ""]
        path.write_text("\n".join(body), encoding="utf-8")


def _number(value) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
