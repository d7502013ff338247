"""A tool that is absent is never overlooked."""

from types import SimpleNamespace

import pytest
from needs import judge, need


def skipped(reason: str) -> SimpleNamespace:
    """Return a report of a skipped test, as pytest makes it."""
    return SimpleNamespace(outcome="skipped", longrepr=("file", 1, f"Skipped: {reason}"))


def test_an_absent_program_skips():
    """The reason names it in the form that the hook looks for."""
    with pytest.raises(pytest.skip.Exception, match=r"^missing tool: no-such-program$"):
        need("no-such-program")
    assert need("sh").endswith("/sh")


def test_in_ci_it_fails():
    """The skip becomes a failure whose text says what to install."""
    report = skipped("missing tool: php")
    assert judge(report, strict=True) == "missing tool: php"
    assert report.outcome == "failed"
    assert "install it" in report.longrepr


def test_elsewhere_it_is_told():
    """It stays a skip, and the reason comes back for the summary."""
    report = skipped("missing tool: php")
    assert judge(report, strict=False)
    assert report.outcome == "skipped"


def test_other_skips_stay():
    """A skip for another reason is nobody's failure, and a pass is none."""
    assert judge(skipped("needs root"), strict=True) == ""
    assert judge(SimpleNamespace(outcome="passed", longrepr=None), strict=True) == ""
