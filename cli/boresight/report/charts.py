"""Charts as pure functions from numbers to inline SVG. Colours come from the page's style sheet, by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .html import Markup, el


@dataclass(frozen=True)
class Series:
    """A line: points (x, y) in order of x. ``noisy``: its moving average is what to look at."""

    label: str
    points: tuple[tuple[float, float], ...]
    noisy: bool = True


@dataclass(frozen=True)
class Interval:
    """A row of a forest plot: a value with its interval (None: no interval), and the text at the right."""

    label: str
    value: float
    low: float | None
    high: float | None
    note: str = ""
    emphasis: bool = False
    detail: str = ""
    """Shown below the label, smaller."""


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers that cover [low, high] (steps of 1, 2, 2.5 or 5 times a power of ten)."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"found the range {low} to {high}, expected finite numbers")
    if high <= low:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / max(1, count - 1)
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def whole_ticks(low: float, high: float) -> list[float]:
    """As :func:`ticks`, whole numbers only: there is no half step."""
    return [value for value in ticks(low, high) if value == round(value)]


def smooth(values: Sequence[float]) -> list[float]:
    """Exponential moving average over about a tenth of the values, without the bias of its start (as in Adam)."""
    weight = max(0.0, 1 - 10 / max(10, len(values)))
    total, norm, out = 0.0, 0.0, []
    for value in values:
        total = weight * total + (1 - weight) * value
        norm = weight * norm + (1 - weight)
        out.append(total / norm)
    return out


def line_chart(
    title: str, series: Sequence[Series], *, width: int = 440, height: int = 220, unit: str = "step"
) -> Markup:
    """Lines over steps; a noisy one of 20 points or more is drawn faint, with its moving average over it."""
    drawn = [s for s in series if s.points]
    if not drawn:
        return Markup("")
    left, right, top, bottom = 54, 12, 30, 30
    xs = [x for s in drawn for x, _ in s.points]
    ys = [y for s in drawn for _, y in s.points]
    x_ticks, y_ticks = whole_ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1e-9)
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - x_low) / (x_high - x_low) * (width - left - right),
            top + (y_high - y) / (y_high - y_low) * (height - top - bottom),
        )

    parts = [el("text", title, x=0, y=14, cls="chart-title")]
    for value in y_ticks:
        _, y = at(x_low, value)
        parts.append(el("line", x1=left, x2=width - right, y1=y, y2=y, cls="grid"))
        parts.append(el("text", tick_label(value, y_ticks), x=left - 8, y=y + 4, cls="tick end"))
    for value in x_ticks:
        if x_low <= value <= x_high:
            x, _ = at(value, y_low)
            parts.append(el("text", f"{value:,.0f}", x=x, y=height - bottom + 16, cls="tick middle"))
    parts.append(el("text", unit, x=width - right, y=height - 2, cls="tick end"))
    for number, line in enumerate(drawn, start=1):
        long = line.noisy and len(line.points) >= 20
        parts.append(_polyline([at(x, y) for x, y in line.points], f"series s{number}{' faint' if long else ''}"))
        if long:
            means = smooth([y for _, y in line.points])
            parts.append(
                _polyline([at(x, y) for (x, _), y in zip(line.points, means, strict=True)], f"series s{number}")
            )
    if len(drawn) > 1:
        x = float(width - right)
        for number, line in reversed(list(enumerate(drawn, start=1))):
            parts.append(el("text", line.label, x=x, y=14, cls=f"legend end t{number}"))
            x -= 7.0 * len(line.label) + 14
    return el("svg", parts, viewBox=f"0 0 {width} {height}", role="img", aria_label=_description(title, drawn))


def forest_plot(
    title: str, rows: Sequence[Interval], *, zero: float | None = None, percent: bool = True, width: int = 900
) -> Markup:
    """One row a value: a dot, its interval as a line, the numbers at the right; ``zero`` is where no difference is."""
    if not rows:
        return Markup("")
    left, right, top, row_height = 250, 250, 34, 34
    height = top + row_height * len(rows) + 26
    marks = [v for r in rows for v in (r.value, r.low, r.high) if v is not None]
    scale = ticks(min([*marks, *([] if zero is None else [zero])]), max([*marks, *([] if zero is None else [zero])]))
    low, high = scale[0], scale[-1]

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - right)

    parts = [el("text", title, x=0, y=14, cls="chart-title")]
    bottom = top + row_height * len(rows)
    for value in scale:
        heavy = zero is not None and abs(value - zero) < 1e-9
        parts.append(el("line", x1=at(value), x2=at(value), y1=top, y2=bottom, cls="zero" if heavy else "grid"))
        label = percent_label(value, scale, signed=zero is not None) if percent else tick_label(value, scale)
        parts.append(el("text", label, x=at(value), y=bottom + 16, cls="tick middle"))
    for number, row in enumerate(rows):
        y = top + row_height * (number + 0.5)
        kind = " strong" if row.emphasis else ""
        parts.append(el("text", row.label, x=0, y=y + (4 if not row.detail else -2), cls=f"label{kind}"))
        if row.detail:
            parts.append(el("text", row.detail, x=0, y=y + 12, cls="tick"))
        if row.low is not None and row.high is not None:
            parts.append(el("line", x1=at(row.low), x2=at(row.high), y1=y, y2=y, cls=f"interval{kind}"))
            ends = (at(row.low), at(row.high))
            parts += [el("line", x1=x, x2=x, y1=y - 5, y2=y + 5, cls=f"interval{kind}") for x in ends]
        parts.append(el("circle", cx=at(row.value), cy=y, r=5, cls=f"dot{kind}"))
        parts.append(el("text", row.note, x=width - right + 18, y=y + 4, cls=f"label note{kind}"))
    text = f"{title}: " + "; ".join(f"{row.label} {row.note}" for row in rows)
    return el("svg", parts, viewBox=f"0 0 {width} {height}", role="img", aria_label=text)


def tick_label(value: float, scale: Sequence[float]) -> str:
    """``value`` with as many digits as tell the scale's ticks apart."""
    step = abs(scale[1] - scale[0]) if len(scale) > 1 else abs(value) or 1.0
    largest = max(abs(v) for v in scale)
    if largest >= 1e5 or 0 < largest < 1e-3:
        return f"{value:.2g}" if value else "0"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**digits - round(step * 10**digits)) > 1e-6:
        digits += 1
    return f"{value:,.{digits}f}" if value else "0"


def percent_label(value: float, scale: Sequence[float], *, signed: bool) -> str:
    """A share as ``45%`` or, ``signed``, a difference of shares as ``+12``."""
    text = tick_label(abs(value) * 100, [v * 100 for v in scale])
    if signed:
        return ("+" if value > 0 else "−" if value < 0 else "") + text
    return text + "%"


def _polyline(points: Sequence[tuple[float, float]], cls: str) -> Markup:
    return el("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), cls=cls, fill="none")


def _description(title: str, series: Sequence[Series]) -> str:
    ends = ", ".join(f"{s.label} from {s.points[0][1]:.4g} to {s.points[-1][1]:.4g}" for s in series)
    return f"{title}: {ends}"
