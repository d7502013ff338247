"""Following a log that others write, rotate and empty."""

from __future__ import annotations

from gateway.native.growing_file import GrowingFile


class TestFollow:
    def collect(self, path, *steps, offset=0):
        """Follow a log while these steps happen one after the other; return what was read."""
        source = GrowingFile(path, offset)
        read = []
        for step in (None, *steps):
            if step is not None:
                step()
            while lines := source.read_lines():
                read += [line.text.encode() + b"\n" for line in lines]
        source.close()
        return b"".join(read)

    def test_what_is_there_and_what_comes(self, tmp_path):
        """From the offset on, over a file that does not exist at first."""
        path = tmp_path / "log"

        def first():
            path.write_bytes(b"one\ntwo\n")

        def more():
            with path.open("ab") as file:
                file.write(b"three\n")

        assert self.collect(path, first, more, offset=4) == b"two\nthree\n"

    def test_the_rest_of_a_rotated_log_comes_before_the_new_one(self, tmp_path):
        """Nothing is skipped and nothing comes twice."""
        path = tmp_path / "log"
        path.write_bytes(b"one\n")

        def rotate():
            with path.open("ab") as file:
                file.write(b"two\n")
            path.replace(tmp_path / "prev")

        def renew():
            path.write_bytes(b"three\n")

        assert self.collect(path, rotate, renew) == b"one\ntwo\nthree\n"

    def test_an_emptied_log_is_read_from_its_start(self, tmp_path):
        """Somebody truncates the file while it is followed."""
        path = tmp_path / "log"
        path.write_bytes(b"one\ntwo\n")
        assert self.collect(path, lambda: path.write_bytes(b"x\n")) == b"one\ntwo\nx\n"
