"""Settings and deployments at the port: what operators decided, and which release serves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scheduler.deployment import Deployment


@dataclass(frozen=True, slots=True)
class ConfigValue:
    """A setting and its revision, which grows with every change and never comes back."""

    value: str
    rev: int


@dataclass(frozen=True, slots=True)
class CurrentRelease:
    """The release that serves; generation 0 with an empty digest before the first."""

    generation: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True)
class DeploymentPage:
    """Deployments, newest first, and where the next page begins; None: there is none."""

    items: list[Deployment]
    cursor: str | None


class AppPort(ABC):
    """Settings and deployments."""

    @abstractmethod
    async def get_config(self, key: str) -> ConfigValue | None:
        """Return a setting."""

    @abstractmethod
    async def put_config(self, key: str, value: str, expected_rev: int | None = None) -> int:
        """Set a setting and return its new revision.

        With `expected_rev` only if that is the current revision (0: the key is not set); Conflict
        otherwise.
        """

    @abstractmethod
    async def list_config(self, prefix: str = "") -> Mapping[str, ConfigValue]:
        """Return the settings whose keys begin so, by key."""

    @abstractmethod
    async def delete_config(self, key: str, expected_rev: int | None = None) -> bool:
        """Remove a setting; False if it was not set. `expected_rev` as in `put_config`."""

    @abstractmethod
    async def record_deployment(self, deployment: Deployment) -> Deployment:
        """Insert the deployment, or replace the one with its id; durable on return."""

    @abstractmethod
    async def get_deployment(self, deployment_id: str) -> Deployment | None:
        """Return the deployment with this id."""

    @abstractmethod
    async def deployments(self, limit: int = 50, cursor: str | None = None) -> DeploymentPage:
        """Return a page of deployments, the highest id first. `limit` is cut to 200."""

    @abstractmethod
    async def current_release(self) -> CurrentRelease:
        """Return which release serves, over all instances."""

    @abstractmethod
    async def deploy(self, digest: str, expected_generation: int) -> int:
        """Make this release the current one and return the new generation; signals `deploy`.

        Raises Conflict if the generation is not the expected one: somebody else was faster.
        """
