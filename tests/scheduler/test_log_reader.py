"""Segments, written and read: every line once, under its number, wherever one begins to read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_fakes import START

from scheduler.log_line import Level, LogLine, parse_line, segment_block
from scheduler.log_reader import Gap, LogReader, Place
from scheduler.log_segments import remove, segment, segments_in
from scheduler.log_writer import SegmentWriter


def write(writer: SegmentWriter, *texts: str, level: Level = Level.OUT) -> None:
    """Write lines in one block."""
    writer.append(segment_block(START, "a1b2c3", level, texts), len(texts))


def writer_of(folder: Path, *, segment_bytes: int = 300, **options: int) -> SegmentWriter:
    """Return a writer of small segments, without a limit unless one is given."""
    options = {"limit_bytes": 1 << 30, **options}
    return SegmentWriter(folder, segment_bytes=segment_bytes, **options)


def reader_of(folder: Path) -> LogReader:
    """Return a reader of segments that has nothing to fall back to."""
    return LogReader(folder, folder / "none.txt")


def lines(reader: LogReader, start: Place | None = None, end: int | None = None) -> list[LogLine]:
    """Return the lines from a place on."""
    return [line for piece in reader.pieces(start or reader.first(), end) for line in piece.lines()]


def texts(reader: LogReader, start: Place | None = None, end: int | None = None) -> list[str]:
    """Return the texts from a place on."""
    return [line.text for line in lines(reader, start, end)]


def followed(reader: LogReader, place: Place) -> Iterator[LogLine | Gap]:
    """Yield what a follower gets up to the end."""
    while (piece := reader.read(place, size=400)).data or piece.gap:
        if piece.gap:
            yield piece.gap
        yield from piece.lines()
        place = piece.end


@pytest.fixture
def hundred(tmp_path: Path) -> LogReader:
    """Return a log of a hundred lines in many segments."""
    writer = writer_of(tmp_path)
    for number in range(100):
        write(writer, f"line {number}")
    assert len(segments_in(tmp_path)) > 10
    return reader_of(tmp_path)


class TestReading:
    @given(
        blocks=st.lists(
            st.lists(st.text(st.characters(exclude_characters="\r\n")), min_size=1, max_size=5),
            max_size=20,
        ),
        segment_bytes=st.integers(1, 500),
        data=st.data(),
    )
    @settings(max_examples=60, deadline=None)
    def test_every_line_under_its_number(self, tmp_path_factory, blocks, segment_bytes, data):
        """Whatever is written, every way of reading finds the same lines at the same numbers."""
        folder = tmp_path_factory.mktemp("log")
        writer = writer_of(folder, segment_bytes=segment_bytes)
        for block in blocks:
            write(writer, *block)
        expected = [line.encode("utf-8", "replace").decode() for block in blocks for line in block]
        reader = reader_of(folder)
        assert [(line.number, line.text) for line in lines(reader)] == list(enumerate(expected))
        first = data.draw(st.integers(0, len(expected)))
        end = data.draw(st.integers(first, len(expected)))
        assert texts(reader, reader.at_line(first), end) == expected[first:end]
        assert texts(reader, reader.tail(first)) == expected[len(expected) - first :]
        found = [line.text for line in followed(reader, reader.at_line(first))]
        assert found == expected[first:]

    def test_bytes_are_those_of_the_lines(self, hundred, tmp_path):
        """Any range of bytes is cut from the log as a whole, over the borders of segments."""
        whole = b"".join(one.path.read_bytes() for one in segments_in(tmp_path))
        assert hundred.extent(0, len(whole)) == (0, len(whole))
        for first, end in ((0, 10), (290, 310), (5, len(whole)), (len(whole) - 1, len(whole))):
            found, place = b"", first
            while place < end:
                at, data = hundred.bytes_from(place, end)
                assert at == place
                found, place = found + data, place + len(data)
            assert found == whole[first:end]

    def test_the_end_of_a_long_log_is_read_from_its_last_segments(self, hundred, monkeypatch):
        """What the last lines cost does not depend on how long the log is."""
        opened: list[str] = []
        real = segment.__globals__["Segment"].read

        def read(one, offset=0, size=-1):
            opened.append(one.path.name)
            return real(one, offset, size)

        monkeypatch.setattr("scheduler.log_segments.Segment.read", read)
        assert texts(hundred, hundred.tail(3)) == ["line 97", "line 98", "line 99"]
        assert len(set(opened)) <= 2
        opened.clear()
        assert texts(hundred, hundred.at_line(50), 51) == ["line 50"]
        assert len(set(opened)) <= 2

    def test_a_line_that_is_not_there_yet(self, hundred):
        """Beyond the end is the end: a follower waits there."""
        assert hundred.at_line(1000) == hundred.end()
        assert hundred.read(hundred.end()).data == b""
        assert reader_of(Path("/nonexistent")).end() == Place(0, 0)

    def test_a_log_of_an_earlier_version_is_read_from_kudus_file(self, tmp_path):
        """Lines have numbers there too; what has no head is text of nobody."""
        file = tmp_path / "output_log.txt"
        file.write_bytes(b"[01/05/2026 10:00:00 > a1b2c3: ERR ] old\r\nwild\nhalf")
        reader = LogReader(tmp_path / "segments", file)
        assert [(line.number, line.stream, line.text) for line in lines(reader)] == [
            (0, "stderr", "old"), (1, "", "wild"), (2, "", "half")
        ]  # fmt: skip

    def test_a_log_that_was_begun_anew_is_read_from_its_beginning(self, tmp_path):
        """The job was deleted and came back: numbers begin again, and followers with them."""
        writer = writer_of(tmp_path / "a")
        write(writer, "x" * 100, "y")
        place = reader_of(tmp_path / "a").end()
        remove(segments_in(tmp_path / "a"))
        write(writer_of(tmp_path / "a"), "new")
        assert [line.text for line in followed(reader_of(tmp_path / "a"), place)] == ["new"]


class TestGaps:
    def test_a_follower_learns_what_retention_took(self, hundred, tmp_path):
        """The gap says which lines are gone; behind it all are there."""
        gone = segments_in(tmp_path)[2:5]
        end = segments_in(tmp_path)[5]
        remove(gone)
        gap, *rest = list(followed(hundred, hundred.at_line(gone[0].line)))
        assert gap == Gap(gone[0].line, end.line, end.byte - gone[0].byte)
        assert [line.text for line in rest] == [f"line {n}" for n in range(end.line, 100)]
        inside = gone[1].line + 1
        gap, *_ = list(followed(hundred, hundred.at_line(inside)))
        assert (gap.first, gap.end) == (inside, end.line)

    def test_a_missing_beginning_is_a_gap_too(self, hundred, tmp_path):
        """Who asks for line 0 is told where the log begins now."""
        remove(segments_in(tmp_path)[:3])
        first = segments_in(tmp_path)[0]
        gap, line, *_ = list(followed(hundred, hundred.at_line(0)))
        assert (gap.first, gap.end, line.number) == (0, first.line, first.line)
        assert lines(hundred)[0].number == first.line

    def test_a_tail_reaches_over_a_gap(self, hundred, tmp_path):
        """So many lines are there, so many are given."""
        everything = segments_in(tmp_path)
        remove(everything[3:-1])
        last = everything[-1]
        count = 100 - last.line
        found = texts(hundred, hundred.tail(count + 2))
        assert len(found) == count + 2
        assert found[-1] == "line 99"

    def test_bytes_end_at_a_hole(self, hundred, tmp_path):
        """Bytes that do not stand together are never given as if they did."""
        segments = segments_in(tmp_path)
        remove(segments[2:4])
        assert hundred.extent(0, 1 << 40) == (0, segments[2].byte)
        begin, _ = hundred.extent(segments[2].byte + 1, 1 << 40)
        assert begin == segments[4].byte


class TestWriting:
    def test_the_middle_goes_head_and_tail_stay(self, tmp_path):
        """A run's log keeps its beginning and its end within the limit."""
        writer = writer_of(tmp_path, limit_bytes=8000, head_bytes=4000)
        for number in range(1000):
            write(writer, f"line {number}")
        found = texts(reader_of(tmp_path))
        assert found[:50] == [f"line {number}" for number in range(50)]
        assert found[-20:] == [f"line {number}" for number in range(980, 1000)]
        assert sum(one.size() for one in segments_in(tmp_path)) <= 8000 + 600
        gaps = [item for item in followed(reader_of(tmp_path), Place(0, 0)) if type(item) is Gap]
        assert len(gaps) == 1
        assert gaps[0].end - gaps[0].first + len(found) == 1000

    def test_without_a_head_the_oldest_go(self, tmp_path):
        """A continuous job's log is what came last."""
        writer = writer_of(tmp_path, limit_bytes=4000)
        for number in range(1000):
            write(writer, f"line {number}")
        found = lines(reader_of(tmp_path))
        assert [line.number for line in found] == list(range(found[0].number, 1000))
        assert sum(one.size() for one in segments_in(tmp_path)) <= 4000 + 600

    @pytest.mark.parametrize("cut", range(1, 60, 7))
    def test_half_a_line_of_a_killed_writer_harms_no_other(self, tmp_path, cut):
        """After kill -9 counting goes on from what is in the file."""
        write(writer_of(tmp_path), "one", "two")
        path = segments_in(tmp_path)[0].path
        path.write_bytes(path.read_bytes()[:-cut])
        before = len(lines(reader_of(tmp_path)))
        write(writer_of(tmp_path), "three")
        found = lines(reader_of(tmp_path))
        assert [line.number for line in found] == list(range(len(found)))
        assert len(found) == before + 1
        assert found[-1].text == "three"

    @given(kills=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 80)), max_size=8))
    @settings(max_examples=40, deadline=None)
    def test_numbers_are_given_once_over_any_number_of_kills(self, tmp_path_factory, kills):
        """Whatever a kill cuts off the newest segment, numbers go on without a hole."""
        folder = tmp_path_factory.mktemp("log")
        for count, cut in kills:
            writer = writer_of(folder)
            for number in range(count):
                write(writer, f"line {number}")
            path = segments_in(folder)[-1].path
            path.write_bytes(path.read_bytes()[: max(0, path.stat().st_size - cut)])
        write(writer_of(folder), "last")
        found = lines(reader_of(folder))
        assert [line.number for line in found] == list(range(len(found)))
        assert found[-1].text == "last"

    def test_what_was_written_in_part_is_counted_as_it_lies(self, tmp_path, monkeypatch):
        """A disk that fills in the middle of a block leaves half a line, and no wrong number."""
        writer = writer_of(tmp_path)
        write(writer, "one")
        path = segments_in(tmp_path)[0].path
        whole = path.read_bytes()

        class Full:
            """A file on a disk with room for twenty bytes."""

            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

            def write(self, block):
                path.write_bytes(whole + block[:20])
                return 20

        with monkeypatch.context() as patched:
            patched.setattr("builtins.open", lambda *_, **__: Full())
            with pytest.raises(OSError, match="only a part"):
                write(writer, "two", "three")
        write(writer, "four")
        found = lines(reader_of(tmp_path))
        assert [line.number for line in found] == [0, 1, 2]
        assert (found[0].text, found[2].text) == ("one", "four")

    def test_a_folder_that_goes_while_one_writes_is_made_again(self, tmp_path):
        """A deleted job that is deployed again has a log, too."""
        writer = writer_of(tmp_path / "log")
        write(writer, "old")
        remove(segments_in(tmp_path / "log"))
        (tmp_path / "log").rmdir()
        write(writer, "new")
        assert texts(reader_of(tmp_path / "log")) == ["new"]


class TestLine:
    def test_a_line_says_who_when_and_how(self):
        """What is written comes back, to the millisecond."""
        at = START.replace(microsecond=123_456)
        raw = segment_block(at, "a1b2c3", Level.SYS_ERR, ["boom ] : x"]).decode()[:-2]
        line = parse_line(7, raw)
        assert line.as_json() == {
            "seq": 7, "at": "2026-01-05T10:00:00.123Z", "stream": "system", "level": "error",
            "text": "boom ] : x", "continued": False,
        }  # fmt: skip

    @given(st.text())
    def test_any_text_is_a_line(self, raw):
        """A job can write what it wants into its files; reading never fails."""
        assert parse_line(0, raw).raw == raw

    @pytest.mark.parametrize("stamp", ["99/99/2026 10:00:00", "02/30/2026 10:00:00"])
    def test_a_time_that_is_none(self, stamp):
        """A line with an impossible time is nobody's."""
        assert parse_line(0, f"[{stamp} > i: INFO] x").level is None
