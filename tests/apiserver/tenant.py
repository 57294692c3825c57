"""Somebody with runs in a namespace, and the words in which a test speaks of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from boresight_operator.api import EVENTS
from builders_manifests import a_synthesis, an_alignment_run, an_eval_run

from .client import ApiError, Client, Object, until
from .runs import RESOURCES, condition_of, resource_of, stage_of, summary


@dataclass
class Tenant:
    """One test's view of a namespace."""

    client: Client
    namespace: str

    def explanation(self) -> str:
        """What a test that waited in vain shows beside the run's status."""
        return ""

    # -- runs ----------------------------------------------------------------------------------------------------

    def create(self, document: Object, *, name: str | None = None) -> Object:
        """Create a run of any kind."""
        document = copy.deepcopy(document)
        if name:
            document["metadata"]["name"] = name
        return self.client.create(RESOURCES[document["kind"]], self.namespace, document)

    def evaluation(self, name: str = "first", **spec: Any) -> Object:
        """Create an EvalRun, the shortest of the kinds: prepare and evaluation."""
        return self.create(an_eval_run(**spec), name=name)

    def synthesis(self, name: str = "first", **spec: Any) -> Object:
        """Create a FeedbackSynthesis: prepare and synthesis."""
        return self.create(a_synthesis(**spec), name=name)

    def alignment(self, name: str = "first", **spec: Any) -> Object:
        """Create an AlignmentRun."""
        return self.create(an_alignment_run(**spec), name=name)

    def now(self, run: Object) -> Object:
        """The run as it is stored."""
        meta = run["metadata"]
        return {"kind": run["kind"], **self.client.get(resource_of(run), meta["namespace"], meta["name"])}

    def edit(self, run: Object, **spec: Any) -> Object:
        """Merge into its spec."""
        return self.client.merge(resource_of(run), self.namespace, run["metadata"]["name"], {"spec": spec})

    def annotate(self, run: Object, **annotations: str) -> Object:
        """Merge into its annotations (``retry`` is ``boresight.dev/retry``)."""
        patch = {f"boresight.dev/{name}": value for name, value in annotations.items()}
        return self.client.merge(
            resource_of(run), self.namespace, run["metadata"]["name"], {"metadata": {"annotations": patch}}
        )

    def delete(self, run: Object, **options: Any) -> None:
        """Delete the run (in the background unless told)."""
        self.client.delete(resource_of(run), self.namespace, run["metadata"]["name"], **options)

    def write_status(self, run: Object, status: Object | None) -> Object:
        """Replace the whole status, as a hand with too many rights might."""
        path = resource_of(run).path(self.namespace, run["metadata"]["name"], "status")

        def put() -> Object | None:
            try:
                found: Object = self.client.call("PUT", path, {**self.now(run), "status": status or {}})
            except ApiError as error:
                if error.code != 409:
                    raise
                return None  # the operator was faster
            return found

        return until(put, "the status is written")

    # -- waiting -------------------------------------------------------------------------------------------------

    def await_run(self, run: Object, look: Callable[[Object], Any], what: str, *, seconds: float = 30) -> Object:
        """The run, once ``look`` is true of it. Raises AssertionError with its status."""
        last: list[Object] = [run]

        def check() -> Object | None:
            last[0] = self.now(run)
            return last[0] if look(last[0]) else None

        try:
            return until(check, what, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; found\n  {summary(last[0])}\n{self.explanation()}") from None

    def await_stage(
        self,
        run: Object,
        name: str,
        state: str,
        *,
        reason: str | None = None,
        attempt: int | None = None,
        seconds: float = 30,
    ) -> Object:
        """The stage's status, once it is in ``state``."""

        def look(run: Object) -> bool:
            stage = stage_of(run, name)
            return (
                stage.get("state") == state
                and (reason is None or stage.get("reason") == reason)
                and (attempt is None or stage.get("attempt") == attempt)
            )

        what = f"{name} {state}" + (f"/{reason}" if reason else "") + (f" attempt {attempt}" if attempt else "")
        return stage_of(self.await_run(run, look, what, seconds=seconds), name)

    def await_condition(
        self, run: Object, kind: str, status: str, *, reason: str | None = None, seconds: float = 30
    ) -> Object:
        """The condition, once it is so."""

        def look(run: Object) -> bool:
            found = condition_of(run, kind)
            return found.get("status") == status and (reason is None or found.get("reason") == reason)

        what = f"{kind}={status}" + (f"/{reason}" if reason else "")
        return condition_of(self.await_run(run, look, what, seconds=seconds), kind)

    # -- what there is -------------------------------------------------------------------------------------------

    def events(self, run: Object) -> list[Object]:
        """Events about a run, oldest first."""
        found = self.client.list(EVENTS, self.namespace)
        ours = [event for event in found if event["involvedObject"].get("uid") == run["metadata"]["uid"]]
        return sorted(ours, key=lambda event: event["firstTimestamp"] or "")
