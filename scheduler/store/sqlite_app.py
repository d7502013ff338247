"""Settings and deployments in SQLite."""

# ruff: noqa: D102 - the port's docstrings hold

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from scheduler.deployment import Deployment, DeploymentState
from scheduler.functions import Problem
from scheduler.store.app_checks import check_generation, check_rev
from scheduler.store.port_app import AppPort, ConfigValue, CurrentRelease, DeploymentPage
from scheduler.store.port_runs import MAX_PAGE
from scheduler.store.sqlite_coordination import SqliteCoordination
from scheduler.store.sqlite_rows import instant, micros

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scheduler.store.sqlite_transaction import Rows, Transaction

_DEPLOYMENTS = (
    "SELECT id, state, reason, digest, generation, started_at, ended_at, problems, changes "
    "FROM deployments "
)


class SqliteApp(SqliteCoordination, AppPort):
    """Settings and deployments."""

    async def get_config(self, key: str) -> ConfigValue | None:
        value, rev = await self.read(lambda rows: _config(rows, key))
        return None if value is None else ConfigValue(value, rev)

    async def put_config(self, key: str, value: str, expected_rev: int | None = None) -> int:
        def put(tx: Transaction) -> int:
            was, rev = _config(tx, key)
            check_rev(key, 0 if was is None else rev, expected_rev)
            tx.execute("INSERT OR REPLACE INTO config VALUES (?, ?, ?)", (key, value, rev + 1))
            return rev + 1

        return await self.write(put)

    async def list_config(self, prefix: str = "") -> Mapping[str, ConfigValue]:
        found = await self.read(
            lambda rows: rows.all(
                "SELECT key, value, rev FROM config "
                "WHERE substr(key, 1, length(:prefix)) = :prefix AND value IS NOT NULL "
                "ORDER BY key",
                {"prefix": prefix},
            )
        )
        return {key: ConfigValue(value, rev) for key, value, rev in found}

    async def delete_config(self, key: str, expected_rev: int | None = None) -> bool:
        def delete(tx: Transaction) -> bool:
            was, rev = _config(tx, key)
            check_rev(key, 0 if was is None else rev, expected_rev)
            tx.execute("UPDATE config SET value = NULL, rev = rev + 1 WHERE key = ?", (key,))
            return was is not None

        return await self.write(delete)

    async def record_deployment(self, deployment: Deployment) -> Deployment:
        row = (
            deployment.id,
            deployment.state.value,
            deployment.reason,
            deployment.digest,
            deployment.generation,
            micros(deployment.started_at),
            micros(deployment.ended_at),
            json.dumps([asdict(problem) for problem in deployment.problems]),
            json.dumps([deployment.added, deployment.changed, deployment.removed]),
        )
        await self.write(
            lambda tx: tx.execute(
                "INSERT OR REPLACE INTO deployments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row
            )
        )
        return deployment

    async def get_deployment(self, deployment_id: str) -> Deployment | None:
        row = await self.read(
            lambda rows: rows.one(_DEPLOYMENTS + "WHERE id = ?", (deployment_id,))
        )
        return None if row is None else _deployment(row)

    async def deployments(self, limit: int = 50, cursor: str | None = None) -> DeploymentPage:
        limit = max(1, min(limit, MAX_PAGE))
        found = await self.read(
            lambda rows: rows.all(
                _DEPLOYMENTS + "WHERE :below IS NULL OR id < :below ORDER BY id DESC LIMIT :n",
                {"below": cursor, "n": limit + 1},
            )
        )
        items = [_deployment(row) for row in found[:limit]]
        return DeploymentPage(items, items[-1].id if len(found) > limit else None)

    async def current_release(self) -> CurrentRelease:
        return await self.read(current)

    async def deploy(self, digest: str, expected_generation: int) -> int:
        def deploy(tx: Transaction) -> int:
            check_generation(current(tx).generation, expected_generation)
            generation = expected_generation + 1
            tx.execute(
                "UPDATE current_release SET generation = ?, digest = ?", (generation, digest)
            )
            tx.tell("deploy")
            return generation

        return await self.write(deploy)


def current(rows: Rows) -> CurrentRelease:
    """Return which release serves."""
    row = rows.one("SELECT generation, digest FROM current_release")
    assert row is not None
    return CurrentRelease(*row)


def _config(rows: Rows, key: str) -> tuple[str | None, int]:
    row = rows.one("SELECT value, rev FROM config WHERE key = ?", (key,))
    return (None, 0) if row is None else (row[0], row[1])


def _deployment(row: tuple[Any, ...]) -> Deployment:
    added, changed, removed = (tuple(names) for names in json.loads(row[8]))
    return Deployment(
        id=row[0],
        state=DeploymentState(row[1]),
        reason=row[2],
        digest=row[3],
        generation=row[4],
        started_at=instant(int(row[5])),
        ended_at=instant(row[6]),
        problems=tuple(Problem(**problem) for problem in json.loads(row[7])),
        added=added,
        changed=changed,
        removed=removed,
    )
