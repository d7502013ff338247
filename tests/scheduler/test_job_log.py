"""Log lines to the letter, whatever a process writes and however it is cut into chunks."""

from __future__ import annotations

import threading

import pytest
from job_fakes import START, lines

from sandbox.output import Stream
from scheduler import job_log, job_output
from scheduler.job_log import Level, LogFile, tail, tail_offset
from scheduler.job_output import LINE_CHARACTERS, JobOutput


@pytest.fixture
def log(tmp_path) -> LogFile:
    """Return a log that stands still in time."""
    return LogFile(tmp_path / "log.txt", instance="a1b2c3d4", now=lambda: START)


def written(log: LogFile, *chunks: bytes, stream: Stream = Stream.STDOUT, **options) -> list[str]:
    """Return the lines that these chunks of output become."""
    output = JobOutput(log, **options)
    for chunk in chunks:
        output.write(stream, chunk)
    output.close()
    return [line.partition("] ")[2] for line in lines(log.path)]


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
        assert log.path.read_bytes() == (
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
            log.path.unlink(missing_ok=True)
            assert written(log, text[:cut], text[cut:]) == expected, cut
        log.path.unlink()
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
        assert lines(log.path) == ["ERR ] err", "INFO] output"]

    def test_several_lines_of_a_message_each_get_a_head(self, log):
        """A message of the platform cannot break the format."""
        log.error("one\ntwo")
        assert lines(log.path) == ["SYS ERR ] one", "SYS ERR ] two"]


class TestLimit:
    def test_beyond_the_limit_only_the_end_is_kept(self, log, monkeypatch):
        """webjobs.md 4.9: head and tail, with how much was left out between them."""
        monkeypatch.setattr(job_output, "TAIL_BYTES", 12)
        chunks = (b"12345\n", b"6789\n", b"x" * 100, b"y\n", b"last\n", b"words")
        *kept, marker, last, words = written(log, *chunks, limit_bytes=9)
        assert kept == ["12345", "678"]
        assert marker.startswith("Output was truncated: 102 bytes beyond the limit of 9 bytes")
        assert (last, words) == ("last", "words")

    def test_an_end_that_is_kept_whole_leaves_no_gap(self, log):
        """A few bytes over the limit are simply there."""
        assert written(log, b"12345\n", b"67\xc3", b"\xa489\n", limit_bytes=9) == [
            "12345",
            "67\xe489",
        ]

    def test_of_both_streams_the_end_is_kept_in_order(self, log, monkeypatch):
        """The trace of a crash is at the end of stderr, whoever flooded stdout."""
        monkeypatch.setattr(job_output, "TAIL_BYTES", 20)
        output = JobOutput(log, limit_bytes=0)
        for number in range(9):
            output.write(Stream.STDOUT, b"%d234567\n" % number)
        output.write(Stream.STDERR, b"boom\n")
        output.close()
        assert lines(log.path)[1:] == ["INFO] 8234567", "ERR ] boom"]

    def test_the_platforms_lines_have_no_limit(self, log):
        """How the run ended is always told."""
        written(log, b"x" * 100, limit_bytes=1)
        log.error("Job failed due to exit code 1")
        assert lines(log.path)[-1] == "SYS ERR ] Job failed due to exit code 1"

    def test_output_notes_when_it_came(self, log):
        """The idle rule needs the time of the last output, kept or not."""
        times = iter([1.0, 2.0, 3.0])
        output = JobOutput(log, limit_bytes=1, monotonic=lambda: next(times))
        output.write(Stream.STDOUT, b"xxx")
        assert output.last_write == 2.0
        output.write(Stream.STDERR, b"y")
        assert output.last_write == 3.0


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
        found = lines(log.path)
        assert len(found) == 200
        assert set(found) == {f"INFO] {str(n) * 3}" for n in range(4)}

    def test_a_folder_that_was_removed_is_made_again(self, log, tmp_path):
        """Deleting a job's data does not silence its log."""
        gone = LogFile(tmp_path / "data" / "log.txt", instance="i", now=lambda: START)
        gone.info("hello")
        assert lines(gone.path) == ["SYS INFO] hello"]

    def test_a_full_disk_loses_lines_and_nothing_else(self, tmp_path, caplog):
        """Writing never raises; the loss is told once."""
        (tmp_path / "log.txt").mkdir()
        broken = LogFile(tmp_path / "log.txt", instance="i", now=lambda: START)
        broken.info("a")
        broken.info("b")
        assert caplog.records[0].message.startswith("log lines are lost")
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


class TestTail:
    @pytest.mark.parametrize("count", [1, 2, 3, 10])
    def test_the_last_lines(self, tmp_path, count):
        """With or without a line end after the last one."""
        path = tmp_path / "log"
        for text in ("a\r\nb\r\nc\r\n", "a\nb\nc"):
            path.write_bytes(text.encode())
            assert tail(path, count) == ["a", "b", "c"][-count:]

    def test_a_large_log_is_read_from_its_end(self, tmp_path):
        """Lines across the borders of blocks are whole."""
        path = tmp_path / "log"
        expected = [f"{number} {'x' * (number % 300)}" for number in range(3000)]
        path.write_text("\n".join(expected) + "\n")
        for count in (1, 7, 400, 2999, 3000, 9000):
            assert tail(path, count) == expected[-count:]

    def test_no_log_has_no_lines(self, tmp_path):
        """A job that never ran is no error."""
        assert tail(tmp_path / "log", 5) == []
        assert tail_offset(tmp_path / "log", 5) == 0

    def test_an_empty_log_and_no_lines_wanted(self, tmp_path):
        """The borders."""
        path = tmp_path / "log"
        path.write_bytes(b"")
        assert tail(path, 5) == []
        path.write_bytes(b"a\n")
        assert tail(path, 0) == []
