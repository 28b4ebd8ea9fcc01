"""The figures of all scenarios in one SVG: what each server needs, as a multiple of what we need.

A row is a scenario and the first figure of its bars; a dot is a server. A dot to the right of 1
needs more than otus-httpd (more CPU, more time, or gives less); the axis is logarithmic.

Invariant: it shows medians that the report prints, and nothing that is not in the JSON.
"""

import math
from html import escape

from report import NAME_OF_METRIC, reference
from servers import LIMIT, OURS

COLOURS = {
    OURS: "#c8321e", "nginx": "#1a8f3c", "nginx-aio": "#7cc48f", "lighttpd": "#2a5db0",
    "h2o": "#b07d1a", "caddy": "#7a3fa0", LIMIT: "#888888", "dd": "#444444",
}  # fmt: skip
LEFT, RIGHT, WIDTH, ROW, TOP = 190, 30, 900, 30, 76
# The axis, as multiples of ours.
LEAST, MOST = 1 / 8, 32
RATE_LIKE = ("rate", "scale")


def chart(scenarios, found):
    rows = [row for work in scenarios if (row := row_of(work, found[work.name]))]
    height = TOP + ROW * len(rows) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        '<text x="16" y="24" font-size="16">What a server needs, as a multiple of what otus-httpd needs</text>',
        *legend(found),
        *axis(TOP + ROW * len(rows)),
    ]
    for number, row in enumerate(rows):
        parts += row_shown(row, TOP + ROW * number + ROW / 2)
    parts.append(f'<text x="{LEFT}" y="{height - 8}" fill="#555">left of 1: better than otus-httpd; right of 1: worse. '
                 "The bar is met where no peer is left of the bracket.</text>")  # fmt: skip
    return "\n".join([*parts, "</svg>", ""])


def row_of(work, found):
    """A label, the need of each server by ours, and what the best peer would need where the bar is just met."""
    medians = {name: figures["median"] for name, figures in found.items() if "median" in figures}
    # A server that logs is no peer of those that do not.
    if not work.bars or OURS not in medians or not COLOURS.keys() >= medians.keys():
        return None
    bar = work.bars[0]
    ours = medians[OURS].get(bar.metric)
    if not ours or ours < 0:
        return None
    needs = {}
    for name, median in medians.items():
        value = median.get(bar.metric)
        if value and value > 0:
            needs[name] = ours / value if bar.metric in RATE_LIKE else value / ours
    factor = bar.factor if bar.against != "nothing" else None
    if factor is not None and reference(work, bar, medians)[1] is None:
        factor = None
    # With cost(best) = cost(ours) / factor, or rate(best) = rate(ours) / factor, the bar is just met.
    at = None if factor is None else factor if bar.metric in RATE_LIKE else 1 / factor
    return f"{work.name}: {NAME_OF_METRIC[bar.metric]}", needs, at


def place(multiple):
    share = math.log(max(LEAST, min(MOST, multiple)) / LEAST) / math.log(MOST / LEAST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def row_shown(row, y):
    label, needs, bar = row
    yield f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(label)}</text>'
    yield f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="#eee"/>'
    if bar is not None:
        x = place(bar)
        title = f"<title>bar: {bar:.2f}</title>"
        yield f'<path d="M{x + 4:.1f} {y - 9} h-4 v18 h4" fill="none" stroke="{COLOURS[OURS]}">{title}</path>'
    # Ours last, so that nothing hides it.
    for name in sorted(needs, key=lambda name: name == OURS):
        title = f"<title>{escape(name)}: {needs[name]:.2f}</title>"
        yield (f'<circle cx="{place(needs[name]):.1f}" cy="{y}" r="5.5" fill="{COLOURS[name]}" fill-opacity="0.85">'
               f"{title}</circle>")  # fmt: skip


def legend(found):
    names = [name for name in COLOURS if any(name in figures for figures in found.values())]
    for number, name in enumerate(names):
        x = 22 + number * 100
        yield f'<circle cx="{x}" cy="46" r="5.5" fill="{COLOURS[name]}"/>'
        yield f'<text x="{x + 10}" y="50">{escape(name)}</text>'


def axis(bottom):
    multiple = LEAST
    while multiple <= MOST:
        x, colour = place(multiple), "#c8321e" if multiple == 1 else "#ccc"
        text = f"{multiple:g}" if multiple >= 1 else f"1/{1 / multiple:g}"
        yield f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}" stroke="{colour}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" fill="#555">{text}</text>'
        multiple *= 2
