"""``data make image-questions`` and its like: the commands around the maker."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.recipe import NEWEST, RECIPES
from boresight_api.stages import Templates

from ..arguments import add_common, add_counts, recorded_command, show_progress
from ..instructions.files import check_folder, write_data_set
from .data_sets import DATA_SETS, DataSet
from .make import Counts, Options, make_all
from .provenance import README, media_facts, readme
from .question import QuestionKind

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_COUNTS = {
    "warm_start": "refinement dialogues in warm_start.jsonl",
    "plain": "right answers in warm_start.jsonl",
    "feedback": "rows in feedback.jsonl, half of them on right answers",
    "prompts": "rows in prompts.jsonl",
    "preferences": "pairs in preferences.jsonl, on the first questions of prompts.jsonl",
    "holdout": "rows in holdout.jsonl, on media of the dev side",
    "dev": "rows in dev.jsonl",
    "evaluation": "rows in eval.jsonl, on media of the test side",
}
_SHOWN = 10
"""Questions between two steps of the progress bar."""
DONE = 0


def add_make_commands(data_sets: Subparsers) -> None:
    """Add all of :data:`DATA_SETS` to what ``data make`` makes."""
    for data_set in DATA_SETS:
        parser = data_sets.add_parser(
            data_set.name,
            help=data_set.help,
            description=f"Makes questions about {data_set.shows}, whose answers a program can verify, with right and "
            "wrong answers, critiques, refinement dialogues and preferences written by rule. No medium, and nothing "
            "that decides what it shows, stands on two of the sides train, dev and test. The same arguments and "
            "versions give the same files; manifest.json says where every medium comes from.",
            epilog=f"example: boresight data make {data_set.name} --seed 7 --out data; boresight data check "
            "data/feedback.jsonl",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        _add_arguments(data_set, parser)
        parser.set_defaults(command=partial(run, data_set))


def run(data_set: DataSet, options: argparse.Namespace) -> int:
    """Make the data set. Returns the exit code; raises StageFailure."""
    check_folder(options.out)
    making = making_options(data_set, options)
    total = making.counts.questions

    def on_question(done: int) -> None:
        if done % _SHOWN == 0 or done == total:
            show_progress("questions", done, total)

    made = make_all(making, on_question)
    command = recorded_command(("boresight", "data", "make", data_set.name), partial(_add_arguments, data_set), options)
    facts: dict[str, Any] = {
        "command": command,
        "seed": options.seed,
        "kinds": [kind.name for kind in making.kinds],
        "license": "Apache-2.0; of media as their sources say",
        "versions": {"python": platform.python_version(), **data_set.versions(options)},
        **media_facts(made),
    }
    media = {path: medium.content for path, medium in made.media.items()}
    title = f"{data_set.shows[0].upper()}{data_set.shows[1:]}: questions a program can verify"
    write_data_set(options.out, made.files, facts, beside={**media, README: readme(title, command, made)})
    for name, rows in made.files.items():
        sys.stdout.write(f"{options.out / name}: {len(rows)} rows\n")
    sys.stdout.write(f"{options.out / 'media'}: {len(media)} files\n")
    return DONE


def making_options(data_set: DataSet, options: argparse.Namespace) -> Options:
    """What decides the rows. Raises StageFailure(InvalidConfig) for a kind that does not exist."""
    return Options(
        seed=options.seed,
        kinds=choose_kinds(options.kinds, data_set.kinds(options)),
        counts=Counts(**{name: getattr(options, name) for name in _COUNTS}),
        templates=Templates.model_validate(RECIPES[NEWEST].defaults.templates),
    )


def choose_kinds(names: str, kinds: Iterable[QuestionKind]) -> tuple[QuestionKind, ...]:
    """``all`` kinds or those named, in the order of the names. Raises StageFailure(InvalidConfig) for unknown ones."""
    by_name = {kind.name: kind for kind in kinds}
    chosen = list(by_name) if names == "all" else list(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in chosen:
        if name not in by_name:
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f'--kinds: found "{name}", expected all or names from {", ".join(by_name)}',
            )
    return tuple(by_name[name] for name in chosen)


def _add_arguments(data_set: DataSet, parser: argparse.ArgumentParser) -> None:
    add_common(parser)
    parser.add_argument("--kinds", default="all", help="all, or names separated by commas")
    parser.add_argument(
        "--list-kinds",
        action=_ListKinds,
        nargs=0,
        const=data_set,
        default=argparse.SUPPRESS,
        help="print the names of all kinds with a question of each, and exit",
    )
    data_set.add_arguments(parser)
    add_counts(parser, _COUNTS, Counts())


class _ListKinds(argparse.Action):
    """Prints the kinds of the data set in ``const``. They are imported for that alone, so no help text names them."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,  # noqa: ARG002 the options so far decide
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        for kind in self.const.kinds(namespace):
            sys.stdout.write(f"{kind.name:<18} {kind.forms[0]}\n")
        parser.exit()
