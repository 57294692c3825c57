"""Prints what pyproject.toml requires for an image, one requirement a line: ``python3 wanted.py operator``.

The operator's image holds its extra alone; the trainer's has the command ``boresight`` too, and what that requires.
"""

import sys
import tomllib
from pathlib import Path

image = sys.argv[1]
project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
common = project["dependencies"] if image == "trainer" else []
sys.stdout.write("\n".join([*common, *project["optional-dependencies"][image]]) + "\n")
