"""A :class:`Report` as one self-contained HTML page: no script, no font, no image from anywhere else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import resources

from ..text import duration, short
from .charts import forest_plot, line_chart
from .html import Markup, el, join
from .model import Curve, Example, Figure, Forest, Notice, Report, StageView, Step, Table

NOTICE_WORDS = {"bad": "Read this first.", "warn": "Note.", "good": "Good."}
DIGEST = re.compile(r"^(sha256:|artifact://)?[0-9a-f]{64}$")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Content security policy of the page: should a text ever escape the escaping, it can load and run nothing."""


def render(report: Report) -> str:
    """The page as HTML text."""
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="generator", content="boresight"),
        el("title", report.title, " - Boresight"),
        el("style", Markup(style)),
    )
    sections = [
        _section("Results", _results(report)),
        _section("Pipeline", _pipeline(report.stages)),
        _section("From feedback to better answers", _synthesis(report)),
        _section("Before and after", _finals(report)),
        _section("Training", _curves(report.curves)),
        _section("Where everything comes from", _provenance(report)),
    ]
    body = el("main", _header(report), sections, el("footer", report.footer))
    return f"<!doctype html>\n{el('html', head, el('body', body), lang='en')}\n"


def _header(report: Report) -> Markup:
    return el(
        "header",
        el("h1", report.title, el("span", report.state, cls=f"badge {report.state}")),
        el("div", report.subtitle, cls="lead"),
        [_notice(notice) for notice in report.notices],
        el("div", [_figure(figure) for figure in report.figures], cls="figures") if report.figures else None,
    )


def _notice(notice: Notice) -> Markup:
    return el("p", el("strong", NOTICE_WORDS[notice.kind]), notice.text, cls=f"notice {notice.kind}")


def _figure(figure: Figure) -> Markup:
    return el(
        "div",
        el("div", figure.label, cls="name"),
        el("div", figure.value, cls="value"),
        el("div", figure.interval, cls="interval") if figure.interval else None,
        el("div", figure.note, cls="note") if figure.note else None,
        cls="figure",
    )


def _section(title: str, content: Markup) -> Markup:
    return join([el("h2", title), content]) if content else Markup("")


def _results(report: Report) -> Markup:
    if not report.results and not report.measures:
        return Markup("")
    lead = el("p", "Dots are estimates, lines are 95% intervals; comparisons are paired, prompt by prompt.", cls="soft")
    return join([lead, [_forest(forest) for forest in report.results], [_table(table) for table in report.measures]])


def _forest(forest: Forest) -> Markup:
    plot = forest_plot(forest.title, forest.rows, zero=forest.zero, percent=forest.percent)
    return el("div", plot, el("p", forest.note, cls="soft") if forest.note else None, cls="panel")


def _pipeline(stages: tuple[StageView, ...]) -> Markup:
    longest = max((stage.seconds or 0.0 for stage in stages), default=0.0) or 1.0
    return el("div", [_stage(stage, longest) for stage in stages], cls="pipeline") if stages else Markup("")


def _stage(stage: StageView, longest: float) -> Markup:
    share = 100 * (stage.seconds or 0.0) / longest
    key = el("code", f" {short(stage.key)}") if stage.key else None
    facts = el("div", " · ".join(stage.facts), cls="soft") if stage.facts else None
    bar = el("div", el("span", style=f"width:{share:.1f}%"), cls=f"bar {stage.state}")
    return el(
        "div",
        el("div", el("div", stage.name, cls="name"), el("div", stage.state, cls=f"state {stage.state}")),
        el("div", stage.what, key, facts, cls="what"),
        bar,
        el("div", duration(stage.seconds), cls="time"),
        cls="stage",
    )


def _synthesis(report: Report) -> Markup:
    if not report.filters and not report.synthesis_examples:
        return Markup("")
    lead = (
        "For each prompt x the initial model answers y, the feedback model criticises it (c), and the initial model "
        "answers again with the critique in view (y*). Pairs (y* preferred to y) train the policy."
    )
    return join(
        [
            el("p", lead, cls="soft"),
            [_table(table) for table in report.filters],
            [_example(example) for example in report.synthesis_examples],
        ]
    )


def _finals(report: Report) -> Markup:
    if not report.final_examples:
        return Markup("")
    lead = "Held-out prompts, answered by each model with the same decoding settings; chosen by a hash of their ids."
    return join([el("p", lead, cls="soft"), [_example(example) for example in report.final_examples]])


def _example(example: Example) -> Markup:
    prompts = [step for step in example.steps if step.role == "prompt"]
    rest = [step for step in example.steps if step.role != "prompt"]
    return el(
        "div",
        el("div", el("span", example.id, cls="mono"), el("span", example.note), cls="head"),
        [el("div", el("div", p.label, cls="label"), el("div", p.text, cls="text"), cls="prompt") for p in prompts],
        el("div", [_step(step) for step in rest], cls="steps"),
        cls="example",
    )


def _step(step: Step) -> Markup:
    checks = None
    if step.satisfied is not None:
        good, total = step.satisfied
        kind = " all" if good == total else " none" if good == 0 else ""
        checks = el("span", f"{good} of {total} satisfied", cls=f"checks{kind}")
    return el(
        "div",
        el("div", el("span", step.label), checks, cls="label"),
        el("div", step.text, cls="text"),
        cls=f"step {step.role}",
    )


def _curves(curves: Iterable[Curve]) -> Markup:
    by_stage: dict[str, list[Curve]] = {}
    for curve in curves:
        by_stage.setdefault(curve.stage, []).append(curve)
    return join(
        [
            (
                el("h3", stage),
                el("div", [el("div", line_chart(c.title, c.series), cls="panel") for c in group], cls="charts"),
            )
            for stage, group in by_stage.items()
        ]
    )


def _provenance(report: Report) -> Markup:
    manifest = (
        el("details", el("summary", "The manifest of this run"), el("pre", report.manifest))
        if report.manifest
        else None
    )
    return join([[_table(table) for table in report.digests], manifest])


def _table(table: Table) -> Markup:
    if not table.rows:
        return Markup("")

    def cls(index: int) -> str | None:
        return "number" if index in table.numeric else None

    head = el("tr", [el("th", header, cls=cls(i)) for i, header in enumerate(table.headers)])
    rows = [
        el("tr", [el("td", cell, cls="mono" if DIGEST.match(cell) else cls(i)) for i, cell in enumerate(row)])
        for row in table.rows
    ]
    return el(
        "div",
        el("table", el("caption", table.caption), el("thead", head), el("tbody", rows)),
        el("p", table.note, cls="soft") if table.note else None,
        cls="panel",
    )
