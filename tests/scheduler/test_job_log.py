"""Log lines to the letter, whatever a process writes and however it is cut into chunks."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from job_fakes import START, lines

from sandbox.output import Stream
from scheduler import job_log, log_overflow
from scheduler.job_log import LogFile
from scheduler.job_output import LINE_CHARACTERS, JobOutput
from scheduler.journal import Journal
from scheduler.log_line import Level
from scheduler.log_reader import LogReader
from scheduler.log_writer import SegmentWriter


def journal(folder: Path, limit_bytes: int | None = None) -> Journal:
    """Return a log that stands still in time."""
    file = LogFile(folder / "log.txt", instance="a1b2c3d4", now=lambda: START)
    writer = SegmentWriter(folder / "segments", limit_bytes=1 << 20)
    return Journal(file, writer, instance="a1b2c3d4", now=lambda: START, limit_bytes=limit_bytes)


@pytest.fixture
def log(tmp_path) -> Journal:
    """Return a log without limit."""
    return journal(tmp_path)


def written(log: Journal, *chunks: bytes, stream: Stream = Stream.STDOUT) -> list[str]:
    """Return the lines that these chunks of output become."""
    output = JobOutput(log)
    for chunk in chunks:
        output.write(stream, chunk)
    output.close()
    return [line.partition("] ")[2] for line in lines(log.file.path)]


def kept(log: Journal, folder: Path) -> list[str]:
    """Return the lines of the segments."""
    reader = LogReader(folder / "segments", log.file.path)
    return [line.text for piece in reader.pieces(reader.first()) for line in piece.lines()]


class TestLines:
    def test_the_format_is_kudus(self, log):
        """Time in UTC, instance in six letters, level in four, CRLF."""
        output = JobOutput(log)
        output.write(Stream.STDOUT, b"hello\n")
        output.write(Stream.STDERR, b"oh\n")
        log.info("Status changed to Running")
        log.warning("careful")
        log.error("bad")
        head = b"[01/05/2026 10:00:00 > a1b2c3: "
        assert log.file.path.read_bytes() == (
            head + b"INFO] hello\r\n" + head + b"ERR ] oh\r\n"
            + head + b"SYS INFO] Status changed to Running\r\n"
            + head + b"SYS WARN] careful\r\n" + head + b"SYS ERR ] bad\r\n"
        )  # fmt: skip

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_each_line_end_counts(self, log, end):
        """Unix, Windows and a lone return, as progress bars write it."""
        assert written(log, f"a{end}{end}b{end}".encode()) == ["a", "", "b"]

    def test_a_last_partial_line_is_written_at_the_end(self, log):
        """Nothing that was written is lost for want of a line end."""
        assert written(log, b"a\nhalf") == ["a", "half"]

    def test_any_cut_gives_the_same_lines(self, log):
        """Chunk borders fall anywhere, in the middle of a letter and of a CRLF too."""
        text = "größe €\r\nzwei\rdrei\n\r\nüü".encode()
        expected = ["größe €", "zwei", "drei", "", "üü"]
        for cut in range(len(text) + 1):
            log.file.path.unlink(missing_ok=True)
            assert written(log, text[:cut], text[cut:]) == expected, cut
        log.file.path.unlink()
        assert written(log, *(bytes([byte]) for byte in text)) == expected

    def test_bytes_that_are_no_text_are_replaced(self, log):
        """A job may print anything; the log stays UTF-8."""
        assert written(log, b"a\xff\xfeb\n\xe2\x82") == ["a\ufffd\ufffdb", "\ufffd"]

    def test_a_line_without_end_does_not_fill_our_memory(self, log):
        """It is cut into lines of its own."""
        found = written(log, *[b"x" * 10_000] * 20)
        assert "".join(found) == "x" * 200_000
        assert max(map(len, found)) <= LINE_CHARACTERS + 10_000

    def test_the_streams_do_not_mix_within_a_line(self, log):
        """Half a line of one stream waits for its own end."""
        output = JobOutput(log)
        output.write(Stream.STDOUT, b"out")
        output.write(Stream.STDERR, b"err\n")
        output.write(Stream.STDOUT, b"put\n")
        assert lines(log.file.path) == ["ERR ] err", "INFO] output"]

    def test_several_lines_of_a_message_each_get_a_head(self, log):
        """A message of the platform cannot break the format."""
        log.error("one\ntwo")
        assert lines(log.file.path) == ["SYS ERR ] one", "SYS ERR ] two"]


class TestLimit:
    def test_beyond_the_limit_only_the_end_is_kept(self, tmp_path, monkeypatch):
        """webjobs.md 4.9: head and tail in Kudu's file, with how much is missing between them."""
        monkeypatch.setattr(log_overflow, "TAIL_BYTES", 120)
        log = journal(tmp_path, limit_bytes=110)
        chunks = (b"12345\n", b"6789\n", b"x" * 100 + b"\n", b"y\n", b"last\n", b"words")
        *head, marker, last, words = written(log, *chunks)
        assert head == ["12345", "6789"]
        assert marker.startswith("Output was truncated: 2 lines (101 bytes) beyond the limit")
        assert (last, words) == ("last", "words")
        assert kept(log, tmp_path) == ["12345", "6789", "x" * 100, "y", "last", "words"]

    def test_an_end_that_is_kept_whole_leaves_no_gap(self, tmp_path):
        """A few lines over the limit are simply there."""
        log = journal(tmp_path, limit_bytes=60)
        assert written(log, b"12345\n67\n", b"\xc3", b"\xa489\n") == ["12345", "67", "\xe489"]

    def test_of_both_streams_the_end_is_kept_in_order(self, tmp_path, monkeypatch):
        """The trace of a crash is at the end of stderr, whoever flooded stdout."""
        monkeypatch.setattr(log_overflow, "TAIL_BYTES", 110)
        log = journal(tmp_path, limit_bytes=0)
        output = JobOutput(log)
        for number in range(9):
            output.write(Stream.STDOUT, b"%d234567\n" % number)
        output.write(Stream.STDERR, b"boom\n")
        output.close()
        assert lines(log.file.path)[1:] == ["INFO] 8234567", "ERR ] boom"]

    def test_the_platforms_lines_have_no_limit(self, tmp_path):
        """How the run ended is always told."""
        log = journal(tmp_path, limit_bytes=1)
        written(log, b"x" * 100)
        log.error("Job failed due to exit code 1")
        assert lines(log.file.path)[-1] == "SYS ERR ] Job failed due to exit code 1"

    def test_output_notes_when_it_came(self, log):
        """The idle rule needs the time of the last output, kept or not."""
        times = iter([1.0, 2.0, 3.0])
        output = JobOutput(log, monotonic=lambda: next(times))
        output.write(Stream.STDOUT, b"xxx")
        assert output.last_write == 2.0
        output.write(Stream.STDERR, b"y")
        assert output.last_write == 3.0


class TestContinuedLines:
    def test_a_line_in_pieces_says_so(self, log, tmp_path):
        """The pieces of one line can be put together again, and its end is no line of its own."""
        output = JobOutput(log)
        for chunk in (b"x" * 70_000, b"y" * 70_000, b"tail\nnext\n"):
            output.write(Stream.STDOUT, chunk)
        output.close()
        reader = LogReader(tmp_path / "segments", log.file.path)
        found = [line for piece in reader.pieces(reader.first()) for line in piece.lines()]
        assert [(len(line.text), line.continued) for line in found] == [
            (70_000, False), (70_000, True), (4, True), (4, False)
        ]  # fmt: skip

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_an_end_right_behind_a_piece_is_no_line(self, log, tmp_path, end):
        """What was cut at its very end is whole."""
        assert [len(text) for text in written(log, b"x" * 70_000, end, b"next\n")] == [70_000, 4]
        reader = LogReader(tmp_path / "segments", log.file.path)
        found = [line for piece in reader.pieces(reader.first()) for line in piece.lines()]
        assert [line.continued for line in found] == [False, False]


class TestFile:
    def test_writers_of_several_threads_write_whole_lines(self, log):
        """The drain thread and the loop write to one file."""
        outputs = [JobOutput(log) for _ in range(4)]

        def write(number: int) -> None:
            for _ in range(50):
                outputs[number].write(Stream.STDOUT, f"{number}{number}{number}\n".encode())

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = lines(log.file.path)
        assert len(found) == 200
        assert set(found) == {f"INFO] {str(n) * 3}" for n in range(4)}

    def test_a_folder_that_was_removed_is_made_again(self, log, tmp_path):
        """Deleting a job's data does not silence its log."""
        gone = LogFile(tmp_path / "data" / "log.txt", instance="i", now=lambda: START)
        gone.append(Level.SYS_INFO, ["hello"])
        assert lines(gone.path) == ["SYS INFO] hello"]

    def test_a_full_disk_loses_lines_and_nothing_else(self, tmp_path, caplog):
        """Writing never raises; the loss is told once."""
        (tmp_path / "log.txt").mkdir()
        broken = LogFile(tmp_path / "log.txt", instance="i", now=lambda: START)
        broken.append(Level.SYS_INFO, ["a"])
        broken.append(Level.SYS_INFO, ["b"])
        assert caplog.records[0].message.startswith("log lines are lost")
        assert len(caplog.records) == 1

    def test_lines_that_were_lost_are_counted_in_our_copy(self, tmp_path, caplog):
        """When there is room again the log says how many are missing, and numbers go on."""
        log = journal(tmp_path)
        log.output(Level.OUT, ["before"])
        path = next((tmp_path / "segments").iterdir())
        path.rename(tmp_path / "away")
        path.mkdir()
        log.output(Level.OUT, ["lost", "lost"])
        log.output(Level.ERR, ["lost"])
        path.rmdir()
        (tmp_path / "away").rename(path)
        log.output(Level.OUT, ["after"])
        assert kept(log, tmp_path) == [
            "before", "3 lines are missing here: they could not be written", "after"
        ]  # fmt: skip
        assert len(caplog.records) == 1

    def test_a_full_log_moves_away_and_a_new_one_begins(self, tmp_path, monkeypatch):
        """Two files at most, and no line is lost on the way."""
        monkeypatch.setattr(job_log, "ROTATE_BYTES", 100)
        previous = tmp_path / "prev.txt"
        full = LogFile(tmp_path / "log.txt", instance="i", now=lambda: START, previous=previous)
        for number in range(4):
            full.append(Level.SYS_INFO, [f"line {number} {'x' * 30}"])
        assert [line[10:16] for line in lines(previous)] == ["line 0", "line 1"]
        assert [line[10:16] for line in lines(full.path)] == ["line 2", "line 3"]
