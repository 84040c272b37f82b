"""Draws panels of curves as an SVG, which is readable on a light page and on a dark one.

`draw(path, title, panels, columns)` with `Panel`s of `Series`. An axis that is logarithmic may hold a 0: it gets a place of its own
one decade below the smallest value.
"""

import math
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 380, 250
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 42, 46
HEAD = 62

STYLE = """
  .page { fill: #ffffff } text { fill: #1f2328; font: 12px sans-serif } .faint { fill: #59636e }
  .title { font-size: 17px; font-weight: 600 } .name { font-size: 13px; font-weight: 600 } .value { font-size: 10px }
  .axis { stroke: #59636e; fill: none } .grid { stroke: #d1d9e0; stroke-width: 0.6; fill: none }
  .line { fill: none; stroke-width: 1.8; stroke-linejoin: round }
  .a { stroke: #0969da } .a.dot { fill: #0969da } .b { stroke: #bc4c00 } .b.dot { fill: #bc4c00 }
  .c { stroke: #1a7f37 } .c.dot { fill: #1a7f37 } .d { stroke: #8250df } .d.dot { fill: #8250df }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 } .faint { fill: #9198a1 } .axis { stroke: #9198a1 } .grid { stroke: #3d444d }
    .a { stroke: #4493f8 } .a.dot { fill: #4493f8 } .b { stroke: #f0883e } .b.dot { fill: #f0883e }
    .c { stroke: #3fb950 } .c.dot { fill: #3fb950 } .d { stroke: #ab7df8 } .d.dot { fill: #ab7df8 }
  }"""


@dataclass
class Series:
    name: str
    colour: str  # a, b, c or d of the style
    points: list  # of (x, y)


@dataclass
class Panel:
    title: str
    x_label: str
    y_label: str
    series: list = field(default_factory=list)
    x_log: bool = False
    y_log: bool = False
    marked: bool = False  # a dot and its value at every point


def short(value):
    """A number in few characters: 1.77, 12.3, 250, 10k, 5M."""
    for size, letter in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return "%g%s" % (float("%.3g" % (value / (size if letter == "M" else 1e3))), letter)
    return "%.0f" % value if abs(value) >= 100 or value == int(value) else "%.3g" % value


class Axis:
    """Maps values to places from 0 to 1, and says which values to mark."""

    def __init__(self, values, log, marks=None):
        self.log = log
        positive = [v for v in values if v > 0] or [1]
        self.zero = min(positive) / 10
        if log and marks:
            self.low, self.high, self.marks = self._place(min(marks)), self._place(max(marks)), marks
        elif log:
            first, last = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
            self.low, self.high = first, max(last, first + 1)
            self.marks = [10.0 ** e for e in range(self.low, self.high + 1)]
        else:
            step = nice_step(max(max(values, default=1), 1e-9))
            count = max(1, math.ceil(max(values, default=1) / step))
            self.low, self.high, self.marks = 0, count * step, [i * step for i in range(count + 1)]

    def _place(self, value):
        return math.log10(max(value, self.zero)) if self.log else value

    def at(self, value):
        return (self._place(value) - self.low) / ((self.high - self.low) or 1)


def nice_step(largest):
    rough = largest / 4
    unit = 10 ** math.floor(math.log10(rough))
    return next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= rough)


def panel_svg(panel, left, top):
    xs = [x for s in panel.series for x, _ in s.points]
    ys = [y for s in panel.series for _, y in s.points]
    x_axis = Axis(xs, panel.x_log, sorted(set(xs)) if panel.x_log else None)
    y_axis = Axis(ys, panel.y_log)
    x0, y0 = left + LEFT, top + HEIGHT - BOTTOM
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    # Dots with values keep away from the sides.
    inset = 18 if panel.marked else 0

    def x_at(x):
        return x0 + inset + x_axis.at(x) * (width - 2 * inset)

    def at(x, y):
        return x_at(x), y0 - y_axis.at(y) * height

    out = ['<text class="name" x="%d" y="%d">%s</text>' % (left + LEFT, top + 18, escape(panel.title)),
           '<text class="faint" x="%d" y="%d">%s</text>' % (left + LEFT, top + 34, escape(panel.y_label)),
           '<text class="faint" x="%.0f" y="%d" text-anchor="middle">%s</text>'
           % (x0 + width / 2, top + HEIGHT - 8, escape(panel.x_label))]
    for mark in y_axis.marks:
        y = y0 - y_axis.at(mark) * height
        out.append('<path class="grid" d="M%d %.1fh%d"/>' % (x0, y, width))
        out.append('<text x="%d" y="%.1f" text-anchor="end">%s</text>' % (x0 - 6, y + 4, short(mark)))
    for mark in x_axis.marks:
        x = x_at(mark)
        out.append('<path class="grid" d="M%.1f %dv%d"/>' % (x, y0, -height))
        out.append('<text x="%.1f" y="%d" text-anchor="middle">%s</text>' % (x, y0 + 16, short(mark)))
    out.append('<path class="axis" d="M%d %dv%dh%d"/>' % (x0, y0 - height, height, width))
    for series in panel.series:
        places = [at(x, y) for x, y in sorted(series.points)]
        out.append('<path class="line %s" d="M%s"/>' % (series.colour, "L".join("%.1f %.1f" % p for p in places)))
        for (x, y), (_, value) in zip(places, sorted(series.points)) if panel.marked else ():
            out.append('<circle class="dot %s" cx="%.1f" cy="%.1f" r="2.6"/>' % (series.colour, x, y))
            out.append('<text class="value" x="%.1f" y="%.1f" text-anchor="middle">%s</text>' % (x, y - 6, short(value)))
    return out


def legend_svg(series, x, y):
    out = []
    for one in series:
        out.append('<path class="line %s" d="M%.0f %dh16"/>' % (one.colour, x, y - 4))
        out.append('<text x="%.0f" y="%d">%s</text>' % (x + 20, y, escape(one.name)))
        x += 30 + 6.7 * len(one.name)
    return out


def draw(path, title, panels, columns=3):
    panels = [p for p in panels if any(s.points for s in p.series)]
    for panel in panels:
        panel.series = [s for s in panel.series if s.points]
    # Where the series are the same in every panel, one legend is enough.
    names = {tuple(s.name for s in p.series) for p in panels if len(p.series) > 1}
    rows = -(-len(panels) // columns)
    width, height = columns * WIDTH, HEAD + rows * HEIGHT
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img">' % (width, height),
           "<title>%s</title>" % escape(title), "<style>%s\n</style>" % STYLE,
           '<rect class="page" width="%d" height="%d" rx="8"/>' % (width, height),
           '<text class="title" x="%d" y="26">%s</text>' % (LEFT, escape(title))]
    if len(names) == 1:
        out += legend_svg(max((p.series for p in panels), key=len), LEFT, 48)
    for i, panel in enumerate(panels):
        left, top = i % columns * WIDTH, HEAD + i // columns * HEIGHT
        out += panel_svg(panel, left, top)
        if len(names) > 1 and len(panel.series) > 1:
            out += legend_svg(panel.series, left + LEFT + 12 + 6.3 * len(panel.y_label), top + 34)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("\n".join(out) + "\n</svg>\n")
