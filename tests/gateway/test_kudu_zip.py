from __future__ import annotations

import io
import zipfile

import pytest
from management_fakes import FakePlatform, management

pytestmark = pytest.mark.real


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes with one job's folder in its site."""
    platform = FakePlatform(tmp_path)
    platform.write_job("report", run_sh="old", keep_txt="kept")
    return platform


def packed(**files: str) -> bytes:
    """Return a zip: `__` in a name is a slash, `_` a dot."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), text)
    return buffer.getvalue()


JOB = "/api/zip/site/wwwroot/App_Data/jobs/triggered/report"


async def test_zip_is_merged_into_the_folder(platform):
    """6.7: what is in the zip replaces, what is not stays; folders are made; it is deployed."""
    async with management(platform) as client:
        answer = await client.put(f"{JOB}/", data=packed(run_sh="new", lib__a_txt="a"))
        assert (answer.status, await answer.read()) == (200, b"")
        assert (
            await client.put("/api/zip/site/wwwroot/deep/er/", data=packed(x="1"))
        ).status == 200
    folder = platform.site / "App_Data/jobs/triggered/report"
    assert (folder / "run.sh").read_text() == "new"
    assert (folder / "keep.txt").read_text() == "kept"
    assert (folder / "lib" / "a.txt").read_text() == "a"
    assert (platform.site / "deep/er/x").exists()
    assert len(platform.deployments.reasons) == 2
    assert list((platform.home / "tmp").iterdir()) == []


@pytest.mark.parametrize("slash", ["", "/"])
async def test_folder_is_a_zip(platform, slash):
    """6.7: GET of the same path, with and without the slash."""
    async with management(platform) as client:
        answer = await client.get(f"{JOB}{slash}")
        assert answer.status == 200
        assert answer.content_type == "application/zip"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="report.zip"'
        found = zipfile.ZipFile(io.BytesIO(await answer.read()))
        assert sorted(found.namelist()) == ["keep.txt", "run.sh"]
        assert (await client.get("/api/zip/site/nowhere/")).status == 404
        assert (await client.get(f"{JOB}/run.sh")).status == 404


async def test_the_platforms_own_is_in_no_zip(platform):
    """Keys, store and releases are not packed, whichever folder is asked for, nor replaced."""
    (platform.home / "taak.db").write_text("x")
    async with management(platform) as client:
        names = zipfile.ZipFile(io.BytesIO(await (await client.get("/api/zip/")).read())).namelist()
        assert "site/wwwroot/App_Data/jobs/triggered/report/run.sh" in names
        assert not [name for name in names if "secrets" in name or name.startswith(("taak", "tmp"))]
        answer = await client.put("/api/zip/data/", data=packed(secrets__host_json="{}"))
        assert answer.status == 400
        assert "'secrets" in (await answer.json())["Message"]
        assert (await client.put("/api/zip/", data=packed(x="1"))).status == 409


async def test_what_cannot_be_merged_changes_nothing(platform, tmp_path):
    """A file in a folder's place, a broken zip, a link that leads out: told, nothing written."""
    (platform.site / "out").symlink_to(tmp_path)
    async with management(platform) as client:
        answer = await client.put(JOB, data=packed(new_txt="1", keep_txt__x="2"))
        assert answer.status == 409, await answer.text()
        assert (await client.put(JOB, data=b"no zip")).status == 400
        answer = await client.put("/api/zip/site/wwwroot/", data=packed(a="1", out__b="2"))
        assert answer.status == 400
    assert not (platform.site / "App_Data/jobs/triggered/report/new.txt").exists()
    assert not (platform.site / "a").exists()
    assert not (tmp_path / "b").exists()
