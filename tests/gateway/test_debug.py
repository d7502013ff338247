"""Tokens, launch entries and bounds of debugging, without a process."""

from __future__ import annotations

import pytest
from management_fakes import FakePlatform, management

from gateway.cli.debug_entries import hints, launch_entry
from gateway.debug_tokens import MAX_TOKENS, TOKEN_LIFE_S, DebugTokens

STATE = {"job": "mail", "folder": "jobs/continuous/mail", "remote_root": "/inside"}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_token_opens_its_session_once() -> None:
    """A second use, and one that nobody gave out, open nothing."""
    tokens = DebugTokens()
    token = tokens.issue("s")
    assert tokens.redeem(token, "s")
    assert not tokens.redeem(token, "s")
    assert not tokens.redeem("made-up", "s")


def test_a_token_of_another_session_is_used_up() -> None:
    """It cannot be tried at one job after the other; and no session is none."""
    tokens = DebugTokens()
    token = tokens.issue("s")
    assert not tokens.redeem(token, "other")
    assert not tokens.redeem(token, "s")
    assert not tokens.redeem(tokens.issue(""), "")


def test_a_token_is_good_for_a_while() -> None:
    """Then it is as unknown as any other."""
    clock = Clock()
    tokens = DebugTokens(clock)
    token, late = tokens.issue("s"), tokens.issue("s")
    clock.now = TOKEN_LIFE_S
    assert tokens.redeem(token, "s")
    clock.now += 1
    assert not tokens.redeem(late, "s")


def test_tokens_are_bounded() -> None:
    """The oldest goes when there are too many; those that are too old go by themselves."""
    clock = Clock()
    tokens = DebugTokens(clock)
    first = tokens.issue("s")
    for _ in range(MAX_TOKENS):
        last = tokens.issue("s")
    assert not tokens.redeem(first, "s")
    assert tokens.redeem(last, "s")
    clock.now = TOKEN_LIFE_S + 1
    tokens.issue("s")
    assert len(tokens._tokens) == 1


@pytest.mark.parametrize("debugger", ["debugpy", "node", "jdwp"])
def test_each_debugger_has_its_entry(debugger: str) -> None:
    """An entry attaches to the local port; where files have paths, both sides are mapped."""
    entry = launch_entry({**STATE, "debugger": debugger}, 4000)
    assert entry["request"] == "attach"
    assert 4000 in (entry.get("port"), entry.get("connect", {}).get("port"))
    assert all("4000" in line for line in hints({**STATE, "debugger": debugger}, 4000))
    if debugger == "debugpy":
        local = "${workspaceFolder}/jobs/continuous/mail"
        assert entry["pathMappings"] == [{"localRoot": local, "remoteRoot": "/inside"}]
    if debugger == "node":
        mine = launch_entry({**STATE, "debugger": debugger}, 4000, "/here")
        assert (mine["localRoot"], mine["remoteRoot"]) == ("/here", "/inside")


@pytest.mark.parametrize(
    "body", ['{"wait": 1}', '{"duration_s": 1e9}', '{"duration": 5}', "[]", '{"duration_s": NaN}']
)
async def test_a_wrong_order_is_refused_before_anything_happens(tmp_path, body: str) -> None:
    """Fields and limits are named; the job is not touched."""
    platform = FakePlatform(tmp_path)
    platform.deploy_samples()
    async with management(platform) as client:
        answer = await client.post("/v1/jobs/continuous/mail/debug", data=body)
        assert answer.status == 400
    assert platform.continuous.orders == []


async def test_an_order_without_a_length_takes_the_longest(tmp_path) -> None:
    """An hour, unless the platform was told otherwise; the answer has what the command needs."""
    platform = FakePlatform(tmp_path)
    platform.deploy_samples()
    async with management(platform) as client:
        told = await (await client.post("/v1/jobs/continuous/mail/debug")).json()
        assert told["ends"] == "2026-01-05T11:00:00Z"
        assert told["tunnel"] == "/v1/jobs/continuous/mail/debug/tunnel"
        assert told["token"]
        job = await (await client.get("/v1/jobs/continuous/mail/debug")).json()
        assert "token" not in job
        off = await (await client.delete("/v1/jobs/continuous/mail/debug")).json()
        assert off["state"] == "off"
        assert (await client.post("/v1/jobs/continuous/mail/debug/tokens")).status == 409
        assert (await client.post("/v1/jobs/continuous/nobody/debug")).status == 404
