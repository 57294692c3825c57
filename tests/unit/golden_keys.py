"""Adds the golden keys of new recipe versions and new manifests: ``python tests/unit/golden_keys.py``.

Keys that are there already are never changed: a run in the field would train anew. If they no longer hold, the change
needs a new recipe version in ``boresight_api/recipe.py``; the old version must go on giving the old keys.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from boresight_api.recipe import RECIPES
from builders_manifests import GOLDEN, keys

FILE = Path(__file__).with_name("golden_keys.json")


def main() -> int:
    """Write what is missing; exit 1 if what is there would change."""
    golden = json.loads(FILE.read_text()) if FILE.exists() else {}
    changed = []
    for version in RECIPES:
        runs = golden.setdefault(version, {})
        for name, document in GOLDEN.items():
            versioned = copy.deepcopy(document)
            versioned["spec"]["recipe"] = version
            found = keys(versioned, distinct=True)
            if runs.setdefault(name, found) != found:
                changed.append(f"{name} (recipe {version})")
    if changed:
        sys.stderr.write(f"keys would change: {', '.join(changed)}\nAdd a recipe version to boresight_api/recipe.py.\n")
        return 1
    FILE.write_text(json.dumps(golden, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
