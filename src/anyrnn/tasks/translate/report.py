"""What the report of a translator adds."""

from __future__ import annotations

from anyrnn.tasks.translate.options import Options


def pictures(options: Options) -> dict[str, object]:
    """The values that `translate.html` uses beside those of all reports."""
    data = options.data
    where = f" of {data.data}" if data.data else ""
    return {"named": f"{data.source} to {data.target}{where}"}
