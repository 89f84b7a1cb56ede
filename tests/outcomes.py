"""What the program says when it refuses."""

from __future__ import annotations


def mistake(outcome: tuple[int, str, str]) -> str:
    """The one line that tells a mistake, from exit code, standard output and standard error."""
    code, out, error = outcome
    assert code == 2, out + error
    assert error.startswith("anyrnn: error: ")
    assert error.count("\n") == 1
    return error
