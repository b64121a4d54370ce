"""Cards for notebooks, in the manner of scikit-learn's estimator diagram, without JavaScript.

The notebook tells its theme (JupyterLab, VS Code, Sphinx themes), or else the system does. Where
a notebook is not trusted the style is dropped, and what is left are plain tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

# A page: titles, each with its rows (name, value).
Page = Sequence[tuple[str, Sequence[tuple[str, str]]]]

_LIGHT = (
    "--skfhe-text: #000; --skfhe-muted: #57606a; --skfhe-line: #8fb1d4; "
    "--skfhe-card: #f0f8ff; --skfhe-title: #d4ebff;"
)
_DARK = (
    "--skfhe-text: #e6edf3; --skfhe-muted: #9fb1c4; --skfhe-line: #4a6a8a; "
    "--skfhe-card: #14202c; --skfhe-title: #1f3a55;"
)
_TOLD = '[data-jp-theme-light="{}"], [data-vscode-theme-kind*="{}"], [data-theme="{}"]'
_STYLE = f"""
.skfhe-cards {{ {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ .skfhe-cards {{ {_DARK} }} }}
:is({_TOLD.format("true", "light", "light")}) .skfhe-cards {{ {_LIGHT} }}
:is({_TOLD.format("false", "dark", "dark")}) .skfhe-cards {{ {_DARK} }}
.skfhe-cards details {{
  font-family: monospace; font-size: 13px; color: var(--skfhe-text);
  background: var(--skfhe-card); border: 1px dotted var(--skfhe-line); border-radius: 0.25em;
  max-width: 72em; margin: 0 0 0.5em; overflow-x: auto;
}}
.skfhe-cards summary {{
  padding: 0.5em; cursor: pointer; font-weight: bold; background: var(--skfhe-title);
}}
.skfhe-cards table {{
  margin: 0.25em 0.5em 0.5em !important; border: none; border-collapse: collapse;
}}
.skfhe-cards tr {{ background: none !important; }}
.skfhe-cards :is(caption, th, td) {{
  text-align: left !important; vertical-align: top; padding: 0.15em 0.5em; border: none;
  color: var(--skfhe-text); font-size: 13px; font-weight: normal; white-space: normal;
}}
.skfhe-cards caption {{ font-weight: bold; caption-side: top; }}
.skfhe-cards th {{ color: var(--skfhe-muted); white-space: nowrap; min-width: 12em; }}
"""


def cards(*pages: Page) -> str:
    """HTML of one card for each page, the first of them open.

    Parameters
    ----------
    *pages : sequence of (title, rows)
        The first title is the card's own, the others caption their rows. Rows are pairs (name,
        value). Nothing in a page is taken for markup.

    Returns
    -------
    html : str
        A fragment that carries its style.
    """
    body = "".join(_card(page, " open" if page is pages[0] else "") for page in pages)
    return f'<style>{_STYLE}</style><div class="skfhe-cards">{body}</div>'


def _card(page: Page, state: str) -> str:
    (title, first), *others = page
    tables = _table("", first) + "".join(
        _table(f"<caption>{escape(caption)}</caption>", rows) for caption, rows in others
    )
    return f"<details{state}><summary>{escape(title)}</summary>{tables}</details>"


def _table(caption: str, rows: Sequence[tuple[str, str]]) -> str:
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table>{caption}<tbody>{body}</tbody></table>"
