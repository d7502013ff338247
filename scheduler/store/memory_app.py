"""The reference for settings and deployments."""

# ruff: noqa: D102 - the port's docstrings hold

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler.store.app_checks import check_generation, check_rev
from scheduler.store.memory_coordination import MemoryCoordination
from scheduler.store.port_app import AppPort, ConfigValue, CurrentRelease, DeploymentPage
from scheduler.store.port_runs import MAX_PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scheduler.deployment import Deployment


class MemoryApp(MemoryCoordination, AppPort):
    """Settings by key, None for a removed one: its revision must not come back."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self._config: dict[str, tuple[str | None, int]] = {}
        self._deployments: dict[str, Deployment] = {}
        self._current = CurrentRelease()

    async def get_config(self, key: str) -> ConfigValue | None:
        value, rev = self._config.get(key, (None, 0))
        return None if value is None else ConfigValue(value, rev)

    async def put_config(self, key: str, value: str, expected_rev: int | None = None) -> int:
        self._now()
        was, rev = self._config.get(key, (None, 0))
        check_rev(key, 0 if was is None else rev, expected_rev)
        self._config[key] = (value, rev + 1)
        return rev + 1

    async def list_config(self, prefix: str = "") -> Mapping[str, ConfigValue]:
        return {
            key: ConfigValue(value, rev)
            for key, (value, rev) in sorted(self._config.items())
            if key.startswith(prefix) and value is not None
        }

    async def delete_config(self, key: str, expected_rev: int | None = None) -> bool:
        self._now()
        was, rev = self._config.get(key, (None, 0))
        check_rev(key, 0 if was is None else rev, expected_rev)
        if was is None:
            return False
        self._config[key] = (None, rev + 1)
        return True

    async def record_deployment(self, deployment: Deployment) -> Deployment:
        self._now()
        self._deployments[deployment.id] = deployment
        return deployment

    async def get_deployment(self, deployment_id: str) -> Deployment | None:
        return self._deployments.get(deployment_id)

    async def deployments(self, limit: int = 50, cursor: str | None = None) -> DeploymentPage:
        limit = max(1, min(limit, MAX_PAGE))
        ids = sorted((i for i in self._deployments if cursor is None or i < cursor), reverse=True)
        items = [self._deployments[i] for i in ids[:limit]]
        return DeploymentPage(items, items[-1].id if len(ids) > limit else None)

    async def current_release(self) -> CurrentRelease:
        return self._current

    async def deploy(self, digest: str, expected_generation: int) -> int:
        self._now()
        check_generation(self._current.generation, expected_generation)
        self._current = CurrentRelease(expected_generation + 1, digest)
        self._signals.publish(["deploy"])
        return self._current.generation
