"""The page that reports are printed on: one self-contained HTML file for light, dark, paper and phone.

Knows typography, colours and escaping; does not know what a report says. Colours are CSS variables, so that plots
(inline SVG) follow the reader's light or dark scheme.
"""

from collections.abc import Sequence
from html import escape

MODEL_COLOURS = {
    "direct": ("#98a2b3", "#8b95a7"),
    "direct_rl": ("#5d6b82", "#b4bece"),
    "think": ("#2f7fc1", "#62aee8"),
    "think_sft": ("#1f9384", "#45c2b1"),
    "think_rft": ("#bd8410", "#e3b04b"),
    "think_rft4": ("#96602a", "#cf9a63"),
    "think_careful": ("#6f8f2f", "#a9c95f"),
    "think_grpo": ("#7a4fa3", "#b58fe0"),
    "think_rl": ("#cf3f5b", "#ff7d93"),
    "extra_1": ("#7c5cd6", "#a996f0"),
    "extra_2": ("#c2569b", "#ec91c6"),
}
"Colour of each model by day and by night."

WAY_COLOURS = {
    "way_1": ("#2a9d8f", "#3fae9f"),
    "way_2": ("#e3a83b", "#d69c33"),
    "way_3": ("#d9775a", "#d0714f"),
    "way_4": ("#8478c9", "#8f84d6"),
    "way_5": ("#5c93c9", "#5f98d0"),
    "way_other": ("#b9c0cb", "#565f6e"),
}
"Colours of the ways of working, the first named way first."

PAPER = {
    "ink": ("#1b2330", "#e7eaf0"),
    "muted": ("#5c6675", "#9aa5b5"),
    "line": ("#e2e6ec", "#2c3542"),
    "ground": ("#f6f7f9", "#12161d"),
    "card": ("#ffffff", "#1a202a"),
    "yes": ("#157a50", "#55c793"),
    "no": ("#b8352f", "#ff8078"),
    "open": ("#8a6100", "#e6b450"),
    "missing": ("#5c6675", "#9aa5b5"),
    "on-way": ("#10151d", "#0c1016"),
}
"Colours of text, lines and signs by day and by night."

COLOURS = {**PAPER, **MODEL_COLOURS, **WAY_COLOURS}

STYLE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1080px;margin:0 auto;padding:40px 20px 80px}
h1{font-size:2rem;line-height:1.2;letter-spacing:-.02em;margin:0 0 .3em}
h2{font-size:1.25rem;letter-spacing:-.01em;margin:2.6em 0 .7em}
h3{font-size:.95rem;margin:0 0 .5em}
p{margin:.4em 0;max-width:72ch}
.muted,figcaption,small{color:var(--muted)}
small,figcaption{font-size:.85rem}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.86em}
pre{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;margin:.5em 0;
  overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin:0;min-width:0}
.grid{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}
.tiles{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));margin-top:1.6em}
.tile b{display:block;font-size:1.9rem;line-height:1.15;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.tile span{color:var(--muted);font-size:.88rem}
.finding{display:grid;grid-template-columns:30px 1fr;gap:12px;padding:14px 0;border-top:1px solid var(--line)}
.finding:first-of-type{border-top:0;padding-top:2px}.finding:last-of-type{padding-bottom:2px}
.finding ul{margin:.35em 0 0;padding:0;list-style:none;color:var(--muted);font-size:.9rem;
  font-variant-numeric:tabular-nums}
.finding p{margin:0;font-weight:600;max-width:none}
.sign{width:28px;height:28px;border-radius:50%;display:grid;place-items:center;font-weight:700;font-size:.95rem;
  border:1.5px solid currentColor}
.yes{color:var(--yes)}.no{color:var(--no)}.open{color:var(--open)}.missing{color:var(--missing)}
.scroll{overflow-x:auto;padding:6px 20px}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
th{font-weight:600;color:var(--muted);font-size:.8rem;text-align:left}
th,td{padding:10px 14px 10px 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}
th.number,td.number{text-align:right;white-space:nowrap}
td small{display:block;white-space:nowrap}
tr.strong td{font-weight:650}tr.strong small{font-weight:400}
.bar{position:relative;height:5px;border-radius:3px;background:var(--line);margin:5px 0 3px;min-width:96px}
.bar i{position:absolute;top:0;bottom:0;left:0;border-radius:3px}
.bar u{position:absolute;top:-2px;bottom:-2px;background:var(--ink);opacity:.42;border-radius:2px}
.dot{display:inline-block;width:.62em;height:.62em;border-radius:50%;margin-right:.5em}
svg{display:block;width:100%;height:auto}
svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif!important}
.pair{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr))}
.pair pre{background:var(--ground);max-height:26em;overflow-y:auto}
.pair h3{color:var(--muted);font-weight:600}
.question{margin:0 0 .9em;max-width:none}
details{margin:.8em 0}summary{cursor:pointer;color:var(--muted)}
.stack>*+*{margin-top:16px}
footer{margin-top:3em;color:var(--muted);font-size:.88rem}
@media print{body{background:none}.card{break-inside:avoid}main{padding:0}}
"""

SIGNS = {"yes": "\u2713", "no": "\u2717", "open": "\u2248", "missing": "?"}


def _variables(index: int) -> str:
    return "".join(f"--{name}:{pair[index]};" for name, pair in COLOURS.items())


def page(title: str, body: Sequence[str], *, head: str = "") -> str:
    """The whole HTML document; `body` and what `head` adds are trusted HTML, escaped where it was made."""
    scheme = (
        f":root{{color-scheme:light dark;{_variables(0)}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{_variables(1)}}}}}"
    )
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">{head}'
        f"<title>{escape(title)}</title><style>{scheme}{STYLE}</style>"
    )
    content = "\n".join(body)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body><main>\n{content}\n</main></body></html>\n'


def section(heading: str, *parts: str, note: str = "") -> str:
    """A headed section; empty if no part has content."""
    content = "\n".join(part for part in parts if part)
    if not content:
        return ""
    remark = f'<p class="muted">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(heading)}</h2>{remark}{content}</section>"


def finding(tone: str, headline: str, details: Sequence[str]) -> str:
    """A verdict with its sign and the numbers behind it."""
    lines = "".join(f"<li>{_unbroken(detail)}</li>" for detail in details)
    numbers = f"<ul>{lines}</ul>" if lines else ""
    sign = f'<span class="sign {tone}" aria-label="{tone}">{SIGNS[tone]}</span>'
    return f'<div class="finding">{sign}<div><p>{_unbroken(headline)}</p>{numbers}</div></div>'


def _unbroken(text: str) -> str:
    """Escaped text whose percent signs stay with their numbers."""
    return escape(text).replace(" %", "&nbsp;%")


def tile(number: str, caption: str) -> str:
    """A large number with its caption."""
    return f'<div class="card tile"><b>{escape(number)}</b><span>{escape(caption)}</span></div>'


def figure(svg: str | None, title: str, caption: str = "") -> str:
    """A plot with its heading; empty if there is no plot."""
    if not svg:
        return ""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="card"><h3>{escape(title)}</h3>{svg}{below}</figure>'


def grid(*parts: str) -> str:
    """Parts side by side where there is room; empty if all are."""
    content = "".join(part for part in parts if part)
    return f'<div class="grid">{content}</div>' if content else ""


def table(heading: Sequence[str], rows: Sequence[Sequence[str]], *, strong: Sequence[int] = ()) -> str:
    """A table of trusted cells; all columns but the first are numbers; rows at the indices `strong` stand out."""
    head = "".join(f"<th{_column(index)}>{escape(text)}</th>" for index, text in enumerate(heading))
    lines = []
    for number, row in enumerate(rows):
        cells = "".join(f"<td{_column(index)}>{cell}</td>" for index, cell in enumerate(row))
        lines.append(f'<tr class="strong">{cells}</tr>' if number in strong else f"<tr>{cells}</tr>")
    return (
        f'<div class="card scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def _column(index: int) -> str:
    return ' class="number"' if index else ""


def share_cell(mean: float, low: float, high: float, colour: str) -> str:
    """A share with its bar and interval."""
    bar = (
        f'<div class="bar"><i style="width:{100 * mean:.1f}%;background:var(--{colour})"></i>'
        f'<u style="left:{100 * low:.1f}%;width:{max(100 * (high - low), 0.5):.1f}%"></u></div>'
    )
    return f"{100 * mean:.1f} %{bar}<small>{100 * low:.1f} to {100 * high:.1f}</small>"
