"""``boresight init``: the smallest manifest."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

MANIFEST = """\
# An alignment run: `boresight plan FILE` shows what it would do, `boresight run FILE` does it here.
apiVersion: boresight.dev/v1alpha1
kind: AlignmentRun
metadata:
  name: {name}
spec:
  task: {task}
  model:                      # the initial model: hf://, file://, artifact:// or embedded://
    uri: {model}
  data:
    feedback:                 # language feedback (prompt, response, critique): what the feedback model learns from
    - uri: {data}
      format: {format}{columns}
"""

COLUMNS = """
      columns:                # role: name of the column in the file
        prompt: prompt
        response: response
        critique: critique"""


@click.command(
    "init",
    short_help="Write the smallest manifest.",
    epilog="""\b
Examples:
  boresight init > run.yaml
  boresight init --name helpful --model hf://Qwen/Qwen2.5-0.5B-Instruct --data my.jsonl > run.yaml
  boresight init --data hf://datasets/PKU-Alignment/align-anything --format AlignAnything > run.yaml""",
)
@click.option("--name", default="first", show_default=True, help="Name of the run.")
@click.option("--task", default="TextToText", show_default=True, help="What goes in and what comes out.")
@click.option(
    "--model", default="embedded://smollm2-135m-instruct", show_default=True, help="URI of the initial model."
)
@click.option("--data", default="feedback.jsonl", show_default=True, help="URI or file with language feedback.")
@click.option(
    "--format",
    "data_format",
    type=click.Choice(["Jsonl", "AlignAnything"]),
    help="How rows are read. Default: by --data.",
)
def init_command(name: str, task: str, model: str, data: str, data_format: str | None) -> None:
    """Print the smallest manifest of a run, ready to be edited; every field left out has a default."""
    from boresight_api.documents import load_yaml
    from boresight_api.manifest import parse_manifest
    from boresight_api.plan import plan
    from boresight_api.problems import PlanError, ProblemsError

    from ..errors import UserError

    chosen = data_format or ("AlignAnything" if data.startswith("hf://") else "Jsonl")
    document = MANIFEST.format(
        name=scalar(name),
        task=scalar(task),
        model=scalar(model),
        data=scalar(data_uri(data)),
        format=chosen,
        columns=COLUMNS if chosen == "Jsonl" else "",
    )
    try:
        run = parse_manifest(load_yaml(document))
    except ProblemsError as error:
        raise UserError(str(error)) from error
    click.echo(document, nl=False)
    try:
        plan(run)
    except PlanError as error:
        click.echo(f"note: this release cannot run it yet: {error}", err=True)


def data_uri(data: str) -> str:
    """A file becomes a URI: absolute as it is, otherwise relative to the manifest."""
    if "://" in data:
        return data
    return Path(data).as_uri() if data.startswith("/") else f"file:{data}"


def scalar(text: str) -> str:
    """``text`` as a YAML scalar: plain where that is safe, in double quotes otherwise."""
    return text if re.fullmatch(r"[A-Za-z][A-Za-z0-9_./:@+-]*[A-Za-z0-9_/]", text) else json.dumps(text)
