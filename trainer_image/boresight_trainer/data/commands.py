"""``boresight-trainer data check``: what is in a file, before any stage reads it."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from boresight_api.enums import DataFormat
from boresight_api.outcome import ExitCode
from boresight_api.stages import DataInput, HoldoutSplit

from .check import CheckReport, Duplicates, check
from .lengths import Lengths
from .uses import Use

if TYPE_CHECKING:
    from .media_check import MediaSummary


def add_check_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``check`` to the commands of ``data``."""
    parser = commands.add_parser("check", help="say what is in a data file, and what is wrong where")
    add_check_arguments(parser)
    parser.set_defaults(command=run_check)


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``data check``."""
    parser.add_argument("path", type=Path, metavar="PATH", help="a .jsonl, .json or .parquet file, or a folder of them")
    parser.add_argument("--format", type=DataFormat, choices=list(DataFormat), default=DataFormat.JSONL)
    parser.add_argument("--subset", help="AlignAnything: which subset, such as text-to-text")
    parser.add_argument("--split", help="which split of a folder")
    parser.add_argument("--files", nargs="+", default=[], metavar="NAME", help="files of a folder, in this order")
    parser.add_argument("--columns", nargs="+", default=[], type=_mapping, metavar="ROLE=COLUMN", help="Jsonl: columns")
    parser.add_argument(
        "--use", nargs="+", type=Use, choices=list(Use), default=[], help="default: what the columns allow"
    )
    parser.add_argument(
        "--tokenizer", type=Path, metavar="FOLDER", help="a model's folder; lengths are given in tokens too"
    )
    parser.add_argument("--max-length", type=int, metavar="TOKENS", help="report conversations longer than this")
    parser.add_argument(
        "--decode-all", action="store_true", help="decode every image, sound and video, not some: finds all damage"
    )
    parser.add_argument("--seed", type=int, default=42, help="the run's seed, which chooses the holdout")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")


def run_check(options: argparse.Namespace) -> int:
    """Print the report; InvalidData if a row is invalid. Raises :class:`StageFailure` if the input cannot be read."""
    if options.max_length is not None and options.tokenizer is None:
        print("error: --max-length counts tokens and needs --tokenizer", file=sys.stderr)  # noqa: T201 a command
        return ExitCode.INVALID_CONFIG
    value = DataInput(
        uri=options.path.absolute().as_uri(),
        format=options.format,
        subset=options.subset,
        split=options.split,
        files=tuple(options.files),
        columns=dict(options.columns),
    )
    with TemporaryDirectory(prefix="boresight-media-") as scratch:
        report = check(
            value,
            options.path,
            uses=options.use,
            holdout=HoldoutSplit(),
            seed=options.seed,
            tokenizer=options.tokenizer,
            max_length=options.max_length,
            scratch=Path(scratch),
            decode_all=options.decode_all,
        )
    text = json.dumps(report.to_json(), ensure_ascii=False) if options.output == "json" else render(report)
    _print(text)
    return ExitCode.INVALID_DATA if report.invalid_rows or not report.rows else ExitCode.DONE


def _print(text: str) -> None:
    """Print ``text``: to a terminal of any encoding, and to a reader that stops early (``| head``)."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text, flush=True)  # noqa: T201 a command
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or closing it at the end fails again


def render(report: CheckReport) -> str:
    """The report for people."""
    return "\n".join(_lines(report))


def _lines(report: CheckReport) -> Iterator[str]:
    verdict = "all valid" if not report.invalid_rows else f"{report.invalid_rows} invalid"
    if not report.rows:
        verdict = "expected at least one row: name another file or split"
    yield f"{report.path}: {report.rows} rows in {len(report.files)} file{'s' * (len(report.files) != 1)}, {verdict}"
    yield ""
    yield f"{'use':<18}{'rows':>9}{'records':>9}{'invalid':>9}{'no winner':>11}"
    for use, counts in report.uses.items():
        yield f"{use:<18}{counts.rows:>9}{counts.records:>9}{counts.invalid:>9}{counts.without_pair:>11}"
    for unit, lengths in (("characters", report.characters), ("tokens", report.tokens)):
        if lengths:
            yield ""
            yield from _length_table(unit, lengths)
    for modality, media in report.media.items():
        yield ""
        yield f"{modality}: {media.distinct} distinct, named {media.named} times; {_decoding(media)}"
        yield from _length_table(modality, media.sizes)
    if report.problems:
        yield ""
        yield "problems"
        for problem in report.problems:
            yield f"  {problem.field}: {problem.count} row{'s' * (problem.count != 1)}: {problem.problem}"
            yield from (f"    {place}" for place in problem.places)
    yield ""
    yield from _duplicate_lines("prompts", report.duplicate_prompts)
    yield from _duplicate_lines("records", report.duplicate_records)
    if report.media:
        yield from _duplicate_lines("media", report.duplicate_media)
    places = ", ".join(report.holdout_places)
    more = ", ..." if report.holdout_rows > len(report.holdout_places) else ""
    yield f"holdout by default (2%): {report.holdout_rows} rows{f': {places}{more}' if places else ''}"


def _decoding(media: MediaSummary) -> str:
    every = "all" if media.decoded == media.distinct else str(media.decoded)
    return f"decoding each once takes one core {media.decode_seconds:.1f} s ({every} tried)"


def _length_table(unit: str, lengths: dict[str, Lengths]) -> Iterator[str]:
    width = max(len(role) for role in [*lengths, unit]) + 2
    yield f"{unit:<{width}}{'min':>8}{'median':>8}{'90%':>8}{'99%':>8}{'max':>8}{'total':>12}"
    for role, item in lengths.items():
        yield (
            f"{role:<{width}}{item.shortest:>8}{item.median:>8}{item.p90:>8}{item.p99:>8}{item.longest:>8}{item.total:>12}"
        )


def _duplicate_lines(what: str, duplicates: Duplicates) -> Iterator[str]:
    if duplicates.extra:
        groups = "; ".join(" = ".join(group) for group in duplicates.groups)
        yield f"equal {what}: {duplicates.extra} more than once: {groups}"
    else:
        yield f"equal {what}: none"


def _mapping(text: str) -> tuple[str, str]:
    role, separator, column = text.partition("=")
    if not separator or not role or not column:
        raise argparse.ArgumentTypeError(f'found "{text}", expected ROLE=COLUMN, such as prompt=question')
    return role, column
