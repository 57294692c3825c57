"""From an observation and an attempt to Kubernetes objects. Pure: plain dicts, no I/O, one result an input."""

from __future__ import annotations

from ..api import Object, Resource
from ..decision import StartAttempt
from ..views import Observation
from .allowed import forbidden
from .config_map import config_map
from .job import job
from .network_policy import network_policy
from .service import service
from .snapshot import plan_config_map
from .work import work_of

__all__ = ["forbidden", "plan_config_map", "render"]


def render(observation: Observation, start: StartAttempt) -> tuple[tuple[Resource, Object], ...]:
    """What an attempt consists of, in the order of creation: the Job last, so that its pods find everything."""
    work = work_of(observation, start)
    services = (service(work),) if work.coupled else ()
    policy = network_policy(work.run, work.settings)
    return (policy, *services, config_map(work, observation), job(work))
