"""A user's own gateway.py, wire.py or msgpack is what the user's code gets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from real.platform import ROOT

pytestmark = [pytest.mark.real, pytest.mark.core]
APPS = ROOT / "tests" / "fixtures" / "apps"


def test_the_apps_own_modules_win(site: Path, start_platform) -> None:
    """Every name that the platform uses is the app's in the app."""
    shutil.copytree(APPS / "name_clash", site, dirs_exist_ok=True)
    platform = start_platform()
    names = [path.parent.name for path in site.glob("*/function.json")]
    assert names
    for name in names:
        answer = platform.get(f"/api/{name}")
        assert answer.status == 200, answer.text + platform.told()
        whose = json.loads(answer.text)
        assert whose
        assert {value.partition(":")[0] for value in whose.values()} == {"app"}, whose


def test_an_app_with_packages_of_its_own_never_meets_ours(site: Path, start_platform) -> None:
    """It brings werkzeug: its workers come from a launcher without the preloaded copy."""
    shutil.copytree(APPS / "brings_werkzeug", site, dirs_exist_ok=True)
    platform = start_platform()
    for path in site.glob("*/function.json"):
        answer = platform.get(f"/api/{path.parent.name}")
        assert answer.status == 200, answer.text + platform.told()
