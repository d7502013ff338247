from __future__ import annotations

import asyncio
import socket

import pytest
from management_fakes import KEY, FakePlatform, management

from gateway.kudu.ranges import UnsatisfiableError, parts

pytestmark = pytest.mark.real


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes with one function and job of each kind."""
    platform = FakePlatform(tmp_path)
    (platform.site / "hello").mkdir()
    (platform.site / "hello" / "function.json").write_text("{}")
    (platform.home / "data" / "jobs").mkdir()
    (platform.home / "data" / "jobs" / "log.txt").write_text("line\n")
    (platform.home / "taak.db").write_text("the store")
    return platform


async def test_file_is_served_with_tag_and_range(platform):
    """GET has an ETag, knows 304 and ranges; both addresses lead to the same file."""
    async with management(platform) as client:
        answer = await client.get("/vfs/data/jobs/log.txt")
        assert (answer.status, await answer.text()) == (200, "line\n")
        assert answer.content_type == "text/plain"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        tag = answer.headers["ETag"]
        path = "/api/VFS/data/jobs/log.txt"
        again = await client.get(path, headers={"If-None-Match": tag})
        assert again.status == 304
        part = await client.get(path, headers={"Range": "bytes=1-2"})
        assert (part.status, await part.text()) == (206, "in")
        beyond = await client.get(path, headers={"Range": "bytes=99-"})
        assert beyond.status == 416


async def test_site_is_below_site_wwwroot(platform):
    """`site/wwwroot` is the site wherever it lies."""
    async with management(platform) as client:
        answer = await client.get("/api/vfs/site/wwwroot/hello/function.json")
        assert await answer.text() == "{}"
        entries = await (await client.get("/api/vfs/site/wwwroot/hello/")).json()
    (entry,) = entries
    assert list(entry) == ["name", "size", "mtime", "crtime", "mime", "href", "path"]
    assert (entry["name"], entry["size"]) == ("function.json", 2)
    assert entry["mime"] == "application/json"
    assert entry["href"].endswith("/api/vfs/site/wwwroot/hello/function.json")


async def test_directory_without_slash_is_sent_to_its_address(platform):
    """307 to the same path with a slash; the root is a directory too."""
    async with management(platform) as client:
        answer = await client.get("/api/vfs/data/jobs", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (307, "/api/vfs/data/jobs/")
        names = [entry["name"] for entry in await (await client.get("/api/vfs/")).json()]
        assert names == ["data", "site"]
        site = await (await client.get("/api/vfs/site/")).json()
        assert [entry["name"] for entry in site] == ["jobs", "wwwroot"]


@pytest.mark.parametrize(
    "path",
    [
        "data/secrets/host.json",
        "data/secrets/",
        "taak.db",
        "taak.db-wal",
        "run.json",
        "releases/x",
        "data//secrets//host.json",
        "./data/./secrets/host.json",
    ],
)
async def test_platforms_own_files_are_not_shown(platform, path):
    """Keys, store, releases and scratch are no files of this interface, however they are named."""
    async with management(platform) as client:
        for verb in ("GET", "PUT", "DELETE"):
            answer = await client.request(verb, f"/api/vfs/{path}", headers={"If-Match": "*"})
            assert answer.status == 404, (verb, path)
    assert (platform.home / "taak.db").read_text() == "the store"


async def test_dots_do_not_lead_out(platform):
    """`..` is refused in any spelling that reaches us."""
    async with management(platform) as client:
        for path in ("%2e%2e/%2e%2e/etc/passwd", "data/%2e%2e/%2e%2e/x", "data/..%2fsecrets"):
            answer = await client.get(f"/api/vfs/{path}", allow_redirects=False)
            assert answer.status in {400, 404}, path
        port = client.server.port
        raw = socket.create_connection(("127.0.0.1", port))
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        head = f"GET /vfs/data/../../secret HTTP/1.0\r\nx-functions-key: {KEY['x-functions-key']}"
        await loop.sock_sendall(raw, f"{head}\r\n\r\n".encode())
        assert b" 400 " in await loop.sock_recv(raw, 100)
        raw.close()


async def test_links_do_not_lead_out(platform, tmp_path):
    """A symbolic link in an app cannot show a file outside, nor the keys inside."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (platform.site / "out").symlink_to(secret)
    (platform.site / "keys").symlink_to(platform.home / "data" / "secrets")
    async with management(platform) as client:
        assert (await client.get("/api/vfs/site/wwwroot/out")).status == 400
        for inside in ("keys/", "keys/host.json"):
            answer = await client.get(f"/api/vfs/site/wwwroot/{inside}")
            assert answer.status in {400, 404}, inside


async def test_put_needs_the_tag_to_replace(platform):
    """201 new, 412 without or with an old If-Match, 204 with the tag or *."""
    path = "/api/vfs/site/wwwroot/deep/new.txt"
    async with management(platform) as client:
        answer = await client.put(path, data=b"one")
        assert answer.status == 201
        tag = answer.headers["ETag"]
        assert (await client.put(path, data=b"x")).status == 412
        assert (await client.put(path, data=b"x", headers={"If-Match": '"old"'})).status == 412
        assert (await client.put(path, data=b"two!", headers={"If-Match": tag})).status == 204
        assert (await client.put(path, data=b"3", headers={"If-Match": "*"})).status == 204
        assert (await client.put("/api/vfs/site/wwwroot/deep", data=b"x")).status == 409
        assert (await client.put("/api/vfs/site/wwwroot/made/")).status == 201
    assert (platform.site / "deep" / "new.txt").read_text() == "3"
    assert (platform.site / "made").is_dir()


async def test_replacing_a_file_keeps_its_mode(platform):
    """A script that was executable still is."""
    script = platform.site / "run.sh"
    script.write_text("old")
    script.chmod(0o755)
    async with management(platform) as client:
        path = "/api/vfs/site/wwwroot/run.sh"
        assert (await client.put(path, data=b"new", headers={"If-Match": "*"})).status == 204
    assert script.stat().st_mode & 0o777 == 0o755


async def test_delete(platform):
    """Files need If-Match; folders that are not empty need recursive=true; missing is 404."""
    base = "/api/vfs/site/wwwroot/hello"
    async with management(platform) as client:
        assert (await client.delete(f"{base}/function.json")).status == 412
        assert (await client.delete(f"{base}/none", headers={"If-Match": "*"})).status == 404
        assert (await client.delete(base)).status == 409
        assert (await client.delete(f"{base}?recursive=true")).status == 200
        for root in ("", "site/", "site/wwwroot", "data/"):
            answer = await client.delete(f"/api/vfs/{root}?recursive=true")
            assert answer.status == 409, root
    assert not (platform.site / "hello").exists()
    assert platform.site.exists()


@pytest.mark.parametrize(
    ("header", "size", "wanted"),
    [
        ("bytes=0-4", 10, [(0, 5)]),
        ("bytes=5-", 10, [(5, 10)]),
        ("bytes=-3", 10, [(7, 10)]),
        ("bytes=-99", 10, [(0, 10)]),
        ("bytes=8-99", 10, [(8, 10)]),
        ("bytes=0-1, 4-5,-1", 10, [(0, 2), (4, 6), (9, 10)]),
        ("bytes=0-1,99-", 10, [(0, 2)]),
        ("BYTES=0-1", 10, [(0, 2)]),
        ("bytes=5-4", 10, []),
        ("bytes=a-b", 10, []),
        ("bytes=-", 10, []),
        ("bytes=", 10, []),
        ("lines=0-1", 10, []),
        ("bytes=" + "0-1," * 17, 10, []),
        ("", 10, []),
    ],
)
def test_ranges(header, size, wanted):
    """Parts of a file; what cannot be read, or asks for too many parts, is the whole."""
    assert parts(header, size) == wanted


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=-0", "bytes=50-,60-"])
def test_ranges_behind_the_end(header):
    """A part that begins behind the end cannot be given."""
    with pytest.raises(UnsatisfiableError):
        parts(header, 10)


async def test_several_parts_are_one_answer(platform):
    """206 as multipart/byteranges, each part with its place; the length is told to the byte."""
    async with management(platform) as client:
        path = "/api/vfs/data/jobs/log.txt"
        answer = await client.get(path, headers={"Range": "bytes=0-1,-1"})
        assert answer.status == 206
        assert answer.content_type == "multipart/byteranges"
        body = await answer.read()
        assert int(answer.headers["Content-Length"]) == len(body)
        assert b"Content-Range: bytes 0-1/5\r\n\r\nli\r\n--" in body
        assert b"Content-Range: bytes 4-4/5\r\n\r\n\n\r\n--" in body
        beyond = await client.get(path, headers={"Range": "bytes=5-"})
        assert (beyond.status, beyond.headers["Content-Range"]) == (416, "bytes */5")


async def test_conditions_of_reading(platform):
    """If-Range gives the part of the same file only; lists of tags and * are understood."""
    async with management(platform) as client:
        path = "/api/vfs/data/jobs/log.txt"
        tag = (await client.head(path)).headers["ETag"]
        part = {"Range": "bytes=0-0"}
        assert (await client.get(path, headers={**part, "If-Range": tag})).status == 206
        assert (await client.get(path, headers={**part, "If-Range": '"old"'})).status == 200
        for known in (f'"x", {tag}', f"W/{tag}", "*"):
            assert (await client.get(path, headers={"If-None-Match": known})).status == 304
        head = await client.head(path)
        assert (head.status, head.headers["Content-Length"], await head.read()) == (200, "5", b"")


async def test_a_neighbour_that_is_packed_is_not_sent_instead(platform):
    """log.txt is log.txt, whatever else lies beside it."""
    (platform.home / "data" / "jobs" / "log.txt.gz").write_bytes(b"other")
    async with management(platform) as client:
        answer = await client.get(
            "/vfs/data/jobs/log.txt", headers={"Accept-Encoding": "gzip"}, auto_decompress=False
        )
        assert await answer.read() == b"line\n"


async def test_failures_are_messages(platform):
    """Clients parse them: a JSON object with Message, for a missing file and a refused write."""
    async with management(platform) as client:
        path = "/api/vfs/data/jobs/log.txt"
        for answer in (
            await client.get("/api/vfs/data/none.txt"),
            await client.put(path, data=b"x"),
            await client.put("/api/vfs/data/jobs/log.txt/below", data=b"x"),
            await client.put("/api/vfs/data/jobs/", data=b""),
            await client.delete(path, headers={"If-Match": '"old"'}),
        ):
            assert answer.status in {404, 409, 412}
            assert (await answer.json())["Message"]


async def test_of_two_writers_with_one_tag_one_wins(platform):
    """The tag is compared when the file is replaced, not only when the body begins."""
    async with management(platform) as client:
        path = "/api/vfs/data/jobs/log.txt"
        tag = (await client.head(path)).headers["ETag"]
        both = [client.put(path, data=text, headers={"If-Match": tag}) for text in (b"1", b"22")]
        answers = await asyncio.gather(*both)
        assert sorted(answer.status for answer in answers) == [204, 412]


async def test_root_without_its_slash(platform):
    """The root is a directory like the others."""
    async with management(platform) as client:
        answer = await client.get("/api/vfs", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (307, "/api/vfs/")
