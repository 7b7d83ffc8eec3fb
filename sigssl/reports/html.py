"""Pages of HTML that need nothing from outside: one style, tables with headings that a screen reader can follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { --ink: #1b1f24; --soft: #57606a; --line: #d8dee4; --blue: #0b57a4; --warn: #8a4600; --bad: #a40e26; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 2rem 4rem; max-width: 1480px; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p { max-width: 75ch; margin: .5rem 0; }
a { color: var(--blue); }
a:focus-visible, summary:focus-visible, .wide:focus-visible { outline: 3px solid #f0b400; outline-offset: 2px; }
.lead { color: var(--soft); }
.notice { border-left: 4px solid #b98900; background: #fff8e6; padding: .6rem .9rem; max-width: none; }
.bad { border-left: 4px solid var(--bad); background: #fff1f1; padding: .6rem .9rem; max-width: none; }
.warn { color: var(--warn); }
.none { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: 0 0 .4rem; }
th, td { padding: .3rem .65rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
thead th { vertical-align: bottom; border-bottom: 2px solid #8c959f; font-weight: 600; }
thead small { font-weight: 400; color: var(--soft); }
tbody th { font-weight: 600; }
.left, th.left { text-align: left; }
td.text { white-space: normal; text-align: left; min-width: 22ch; }
tbody tr:hover { background: #f6f8fa; }
img { max-width: 100%; height: auto; }
figure { margin: .8rem 0; }
figcaption { color: var(--soft); font-size: .9rem; }
svg.mini { display: block; }
.wide { margin: .4rem 0 1.1rem; } .dense th, .dense td { padding: .3rem .42rem; } .bad h2 { margin-top: .2rem; }
.box { display: inline-block; width: .9em; height: .9em; margin: 0 .3em 0 .9em; }
summary { cursor: pointer; color: var(--blue); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: .5rem 0; }
dt { color: var(--soft); }
dd { margin: 0; }
ul.plain { padding-left: 1.1rem; }
.columns { display: flex; flex-wrap: wrap; gap: 1rem 3.5rem; align-items: flex-start; }
@media print { body { max-width: none; padding: 0; } .wide { overflow: visible; } }
"""


class Raw(str):
    """Text that is HTML already."""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: of the window; the visible heading is among the parts.
        parts: HTML, in order.
    """
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f'<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n'
    )


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, text: Sequence[int] = (), dense: bool = False
) -> str:
    """A table whose first column names its rows.

    Args:
        caption: what it shows.
        header: of the columns.
        rows: cells; :class:`Raw` ones are taken as they are.
        text: columns of words, which are left-aligned and may break.
        dense: with narrow columns.
    """

    def cell(column: int, value: str) -> str:
        if column == 0:
            return f'<th scope="row" class="left">{_safe(value)}</th>'
        kind = ' class="text"' if column in text else ""
        return f"<td{kind}>{_safe(value)}</td>"

    heads = "".join(f'<th scope="col"{_left(k, text)}>{_safe(name)}</th>' for k, name in enumerate(header))
    lines = "\n".join(f"<tr>{''.join(cell(k, value) for k, value in enumerate(row))}</tr>" for row in rows)
    said, kind = escape(caption), ' class="dense"' if dense else ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{said}"><table{kind}>\n<caption>{said}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Terms and what they are."""
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{_safe(value)}</dd>" for name, value in pairs) + "</dl>"


def listed(items: Iterable[str]) -> str:
    """A list of sentences."""
    return '<ul class="plain">' + "".join(f"<li>{_safe(item)}</li>" for item in items) + "</ul>"


def link(where: str, text: str) -> Raw:
    """A link; `where` is a relative path."""
    from urllib.parse import quote

    return Raw(f'<a href="{quote(where)}">{escape(text)}</a>')


def picture(where: str, alt: str, caption: str = "", width: int = 0) -> str:
    """A figure with its text alternative, not wider than `width` pixels where that is given."""
    from urllib.parse import quote

    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    size = f' style="width: {width}px"' if width else ""
    return f'<figure><img src="{quote(where)}" alt="{escape(alt)}"{size}>{below}</figure>'


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph."""
    return f'<p class="{kind}">{_safe(text)}</p>' if kind else f"<p>{_safe(text)}</p>"


def heading(text: str, level: int = 2) -> str:
    """A heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def _left(column: int, text: Sequence[int]) -> str:
    return ' class="left"' if column == 0 or column in text else ""


def _safe(value: str) -> str:
    return value if isinstance(value, Raw) else escape(value)
