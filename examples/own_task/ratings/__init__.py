"""A task of one's own: a number for each text, such as the stars of a review."""

from anyrnn.tasks.registry import Entry

ENTRY = Entry(
    name="rate",
    summary="Train networks that give each text a number, and compare them.",
    example="--data reviews.csv --text review --number stars --cell lstm --cell gru",
    package="ratings",
    kind="Rate",
)
