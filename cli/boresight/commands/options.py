"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def store_option(function: F) -> F:
    """``--store``: where artifacts and run records lie."""
    return click.option(
        "--store",
        metavar="URI",
        help="Folder or file:// URI of the store. Default: $BORESIGHT_STORE, else the user's data folder.",
    )(function)


def any_store_option(function: F) -> F:
    """``--store``: where artifacts lie, a bucket included."""
    return click.option(
        "--store",
        metavar="URI",
        help="Folder, file:// or s3:// URI of the store (s3: with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for "
        "other stores than AWS, AWS_ENDPOINT_URL_S3). Default: $BORESIGHT_STORE, else the user's data folder.",
    )(function)


def namespace_option(function: F) -> F:
    """``--namespace``: of the run."""
    return click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the run.")(
        function
    )


def output_option(*formats: str) -> Callable[[F], F]:
    """``-o``: one of ``formats``, the first by default."""
    return click.option(
        "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True, help="How to print it."
    )


def store_path(store: str | None) -> Path:
    """The folder that ``--store`` (or its default) names. Raises :class:`UserError` for a store that is no folder."""
    from ..settings import default_store, store_folder, store_uri

    return store_folder(store_uri(store) if store else default_store())
