"""What is wrong with our CustomResourceDefinitions, as the API server's answers show it, and what to do about it."""

from __future__ import annotations

from .api import RUNS, Resource
from .errors import ApiError, Invalid, NotFound

MEND = "install the CRDs of this operator's release: `helm upgrade`, or `kubectl apply --server-side -f crds/`"


def is_missing(resource: Resource, error: ApiError) -> bool:
    """Whether a list of ``resource`` failed because nobody has installed its CRD."""
    return resource in RUNS and isinstance(error, NotFound)


def told(resource: Resource, error: ApiError) -> str:
    """Why ``resource`` could not be listed."""
    if not is_missing(resource, error):
        return str(error)
    return f"{error}; {_name(resource)} is missing or does not serve {resource.version}: {MEND}"


def refused(resource: Resource, error: Invalid) -> Invalid:
    """The error of a status of ours that was not taken, with what that tells of the CRD."""
    older = "is older than this operator" if error.reason == "SchemaTooOld" else "may be of another release"
    return type(error)(error.code, error.reason, f"{error.message}; {_name(resource)} {older}: {MEND}")


def _name(resource: Resource) -> str:
    return f"CustomResourceDefinition {resource.plural}.{resource.group}"
