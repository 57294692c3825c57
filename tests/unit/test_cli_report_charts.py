"""Charts and markup of the report: pure functions."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from boresight.report.charts import (
    Interval,
    Series,
    forest_plot,
    line_chart,
    percent_label,
    smooth,
    tick_label,
    ticks,
    whole_ticks,
)
from boresight.report.html import Markup, el, join

EVIL = "<script>alert('x')</script> & \"quotes\" \x00\x1b"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (0.22, 0.65, [0.2, 0.4, 0.6, 0.8]),
        (-0.07, 0.36, [-0.2, 0, 0.2, 0.4]),
        (3, 3, [3, 4, 5, 6]),
        (0, 0, [0, 0.25, 0.5, 0.75, 1]),
        (1, 39, [0, 10, 20, 30, 40]),
    ],
)
def test_ticks_are_round_and_cover_the_range(low: float, high: float, expected: list[float]) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("low", "high", "expected"), [(1, 3, [1, 2, 3]), (1, 1, [1, 2]), (1, 39, [0, 10, 20, 30, 40])])
def test_there_is_no_half_step(low: float, high: float, expected: list[float]) -> None:
    assert whole_ticks(low, high) == expected


def test_a_range_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        ticks(float("nan"), 1)


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [
        (0.25, [0, 0.25], "0.25"),
        (10, [0, 10], "10"),
        (1e-4, [0, 1e-4], "0.0001"),
        (0, [0, 5], "0"),
        (2.5, [0, 2.5], "2.5"),
    ],
)
def test_tick_labels_have_the_digits_they_need(value: float, scale: list[float], text: str) -> None:
    assert tick_label(value, scale) == text


def test_percent_labels() -> None:
    assert percent_label(0.4, [0.2, 0.4], signed=False) == "40%"
    assert [percent_label(v, [-0.2, 0.0, 0.2], signed=True) for v in (-0.2, 0.0, 0.2)] == ["−20", "0", "+20"]


def test_a_moving_average_of_a_constant_is_that_constant_and_few_values_stay_as_they_are() -> None:
    assert smooth([2.0] * 50) == pytest.approx([2.0] * 50)
    assert smooth([1.0, 5.0, 2.0]) == pytest.approx([1.0, 5.0, 2.0])


def test_a_line_chart_draws_every_series_inside_its_box() -> None:
    svg = line_chart("loss", [Series("a", ((1.0, 2.0), (2.0, 1.0))), Series("b", ((1.0, 1.5), (2.0, 0.5)))])
    root = ET.fromstring(svg)
    lines = root.findall("polyline")
    assert len(lines) == 2
    for line in lines:
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 440
            assert 0 <= y <= 220
    assert "loss: a from 2 to 1" in root.attrib["aria-label"]


def test_a_long_noisy_line_is_faint_under_its_average_and_a_smooth_one_is_drawn_once() -> None:
    points = tuple((float(i), float(i % 3)) for i in range(30))
    assert line_chart("x", [Series("a", points)]).count("<polyline") == 2
    assert line_chart("x", [Series("a", points, noisy=False)]).count("<polyline") == 1


@pytest.mark.parametrize("points", [(), ((1.0, 1.0),)])
def test_charts_of_no_or_one_point_do_not_break(points: tuple[tuple[float, float], ...]) -> None:
    svg = line_chart("x", [Series("a", points)])
    assert bool(svg) == bool(points)


def test_a_forest_plot_orders_value_and_interval_along_one_axis() -> None:
    svg = forest_plot("d", [Interval("a", 0.1, -0.05, 0.2, "+10"), Interval("b", 0.3, None, None, "+30")], zero=0.0)
    root = ET.fromstring(svg)
    first, second = (float(c.attrib["cx"]) for c in root.findall("circle"))
    whiskers = [line for line in root.findall("line") if "interval" in line.attrib["class"]]
    assert len(whiskers) == 3, "the row without an interval has no whiskers"
    zero = next(float(line.attrib["x1"]) for line in root.findall("line") if line.attrib["class"] == "zero")
    assert float(whiskers[0].attrib["x1"]) < zero < first < float(whiskers[0].attrib["x2"]) < second


def test_text_is_escaped_wherever_it_stands() -> None:
    page = el("p", EVIL, el("b", EVIL), [EVIL, (EVIL,)], title=EVIL)
    assert "<script" not in page
    assert not re.search(r"[\x00\x1b]", page)
    assert ET.fromstring(page).attrib["title"].startswith("<script>alert")
    for svg in (
        line_chart(EVIL, [Series(EVIL, ((0.0, 1.0),)), Series("b", ((0.0, 1.0),))]),
        forest_plot(EVIL, [Interval(EVIL, 1, 0, 2, EVIL)]),
    ):
        assert "<script" not in svg
        ET.fromstring(svg)


def test_markup_is_not_escaped_twice() -> None:
    assert join([Markup("<i>a</i>"), "<", None, 1.50, 2]) == "<i>a</i>&lt;1.52"
    assert el("br") == "<br/>"
    assert el("span", style=None, hidden=True, data_x=1) == '<span hidden data-x="1"></span>'
