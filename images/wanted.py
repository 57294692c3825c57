"""Prints what pyproject.toml requires for an extra, one requirement a line: ``python3 wanted.py operator``."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
wanted = [*project["dependencies"], *project["optional-dependencies"][sys.argv[1]]]
sys.stdout.write("\n".join(wanted) + "\n")
