"""``boresight-operator`` as a later release will be: what the API has and this release does not run yet, it runs.

The operator's side of ranks (Indexed Job, Service, rendezvous) is complete; the plan refuses them until the trainer is.
"""

from __future__ import annotations

import sys

import boresight_api.plan
from boresight_operator.main import main

boresight_api.plan.unrunnable = lambda run: iter(())

if __name__ == "__main__":
    sys.exit(main())
