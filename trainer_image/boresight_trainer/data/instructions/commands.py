"""``data make instructions``: the command around the maker."""

from __future__ import annotations

import argparse
import sys
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from boresight_api.base import parse_decimal
from boresight_api.recipe import NEWEST, RECIPES
from boresight_api.stages import ModelInput, Sampling, Templates

from ...store.digests import user_cache_folder
from ...store.pins import pin
from ..arguments import add_common, add_counts, positive, recorded_command, show_progress
from .files import check_folder, write_data_set
from .make import Counts, Options, choose_kinds, make_all, make_prompts

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_COUNTS = {
    "warm_start": "refinement dialogues in warm_start.jsonl",
    "plain": "answers to prompts without constraints in warm_start.jsonl",
    "feedback": "rows in feedback.jsonl",
    "prompts": "rows in prompts.jsonl",
    "preferences": "prompts of prompts.jsonl that preferences.jsonl is sampled for",
    "holdout": "rows in holdout.jsonl",
    "evaluation": "prompts of trained kinds in eval.jsonl",
    "never_trained": "prompts of kinds never trained in eval.jsonl",
}
DONE = 0


def add_make_command(data_sets: Subparsers) -> None:
    """Add ``instructions`` to what ``data make`` makes."""
    parser = data_sets.add_parser(
        "instructions",
        help="instructions whose fulfilment a program can verify",
        description="Makes prompts, language feedback, refinement dialogues, preferences and an evaluation set from "
        "instructions whose fulfilment a program can verify. The same arguments give the same files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_arguments(parser)
    parser.set_defaults(command=run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``data make instructions``."""
    add_common(parser)
    parser.add_argument("--kinds", default="all", help="simple, all, or names separated by commas")
    parser.add_argument("--compose", type=positive, default=1, metavar="N", help="at most N constraints in a prompt")
    parser.add_argument(
        "--answers-from",
        metavar="MODEL",
        help="model that answers are sampled from, such as embedded://smollm2-135m-instruct; without it only "
        "prompts.jsonl and eval.jsonl are made",
    )
    parser.add_argument(
        "--system-prompt", metavar="TEXT", help="system message of the model; default: its template's own"
    )
    parser.add_argument(
        "--samples",
        type=positive,
        default=4,
        metavar="N",
        help="answers per prompt that a preference is looked for among",
    )
    parser.add_argument("--temperature", type=_temperature, default=Decimal("0.7"), help="of the answers; 0 is greedy")
    parser.add_argument("--top-p", type=_nucleus, default=Decimal(1), help="nucleus of the answers; 1 is off")
    parser.add_argument("--max-tokens", type=positive, default=40, metavar="N", help="longest answer in tokens")
    add_counts(parser, _COUNTS, Counts())


def run(options: argparse.Namespace) -> int:
    """Make the data set. Returns the exit code; raises StageFailure."""
    check_folder(options.out)
    making = making_options(options)
    facts: dict[str, Any] = {
        "command": recorded_command(("boresight", "data", "make", "instructions"), add_arguments, options),
        "seed": options.seed,
        "kinds": {
            "trained": [kind.kind for kind in making.trained],
            "neverTrained": [kind.kind for kind in making.never_trained],
        },
        "license": "Apache-2.0",
    }
    if options.answers_from is None:
        files = make_prompts(making)
    else:
        from .answers import open_model

        model, sampling = answering(options)
        facts["model"] = {"uri": model.uri, "digest": pin(model.uri).digest}
        files = make_all(
            making, open_model(model, sampling, cache=user_cache_folder(), on_answers=partial(show_progress, "answers"))
        )
    write_data_set(options.out, files, facts)
    for name, rows in files.items():
        sys.stdout.write(f"{options.out / name}: {len(rows)} rows\n")
    if options.answers_from is None:
        sys.stdout.write(
            "name a model with --answers-from to make feedback, refinement dialogues and preferences, too\n"
        )
    return DONE


def making_options(options: argparse.Namespace) -> Options:
    """What decides the rows. Raises StageFailure(InvalidConfig) for a kind that does not exist."""
    trained, never_trained = choose_kinds(options.kinds)
    return Options(
        seed=options.seed,
        trained=trained,
        never_trained=never_trained,
        compose=options.compose,
        samples=options.samples,
        counts=Counts(**{name: getattr(options, name) for name in _COUNTS}),
        templates=Templates.model_validate(RECIPES[NEWEST].defaults.templates),
    )


def answering(options: argparse.Namespace) -> tuple[ModelInput, Sampling]:
    """Which model answers, and how its answers are drawn."""
    sampling = Sampling(temperature=options.temperature, top_p=options.top_p, max_tokens=options.max_tokens)
    return ModelInput(uri=options.answers_from, system_prompt=options.system_prompt), sampling


def _decimal(argument: str) -> Decimal:
    try:
        return parse_decimal(argument)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _temperature(argument: str) -> Decimal:
    value = _decimal(argument)
    if value < 0:
        raise argparse.ArgumentTypeError(f'found "{argument}", expected a number of at least 0')
    return value


def _nucleus(argument: str) -> Decimal:
    value = _decimal(argument)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f'found "{argument}", expected a number above 0 and at most 1')
    return value
