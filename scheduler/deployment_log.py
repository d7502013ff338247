"""What the store keeps of deployments: their records, and which site they were made of.

A store that is down stops no deployment: the files serve without it. Knows nothing of releases.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from scheduler.deployment import Deployment, DeploymentState
from scheduler.errors import UnavailableError

if TYPE_CHECKING:
    from scheduler.store.port_app import ConfigValue, DeploymentPage

_log = logging.getLogger("taak.deployments")

_SITE = "deployed-site"


class DeploymentStore(Protocol):
    """The part of the store that deployments need."""

    async def record_deployment(self, deployment: Deployment) -> Deployment:
        """Insert the deployment, or replace the one with its id."""

    async def deployments(self, limit: int = 50, cursor: str | None = None) -> DeploymentPage:
        """Return a page of deployments, the newest first."""

    async def get_config(self, key: str) -> ConfigValue | None:
        """Return a setting."""

    async def put_config(self, key: str, value: str, expected_rev: int | None = None) -> int:
        """Set a setting."""


class DeploymentLog:
    """The records of one site. A home may have served another one before: those are not its own."""

    def __init__(self, store: DeploymentStore, site: Path) -> None:
        self._store = store
        self._site = str(site)
        self._marked = False

    async def record(self, attempt: Deployment) -> None:
        """Write an attempt down as it is now."""
        try:
            if attempt.state is DeploymentState.LIVE and not self._marked:
                await self._store.put_config(_SITE, self._site)
                self._marked = True
            await self._store.record_deployment(attempt)
        except UnavailableError as error:
            _log.warning("deployment %s is not recorded: %s", attempt.id, error)

    async def last_live(self) -> Deployment | None:
        """Return what this site served last, in this life of the platform or an earlier one."""
        try:
            site = await self._store.get_config(_SITE)
            if site is None or site.value != self._site:
                return None
            self._marked = True
            return await self._newest_live()
        except UnavailableError as error:
            _log.warning("what served last is not known: %s", error)
            return None

    async def _newest_live(self) -> Deployment | None:
        cursor: str | None = None
        while True:
            page = await self._store.deployments(50, cursor)
            for deployment in page.items:
                if deployment.state is DeploymentState.LIVE:
                    return deployment
            cursor = page.cursor
            if cursor is None:
                return None
