"""The report of text classification."""

from collections.abc import Mapping, Sequence

from anyrnn.tasks.classify.result import CellResult
from anyrnn.tasks.report import Line, line_chart, render_page

# A confusion matrix of more classes is unreadable: its most frequent confusions are listed instead.
_LARGEST_MATRIX = 60
_LISTED_CONFUSIONS = 40


def render(config: Mapping[str, object], results: Sequence[CellResult]) -> str:
    """The page that shows a run: figures, learning curves, confusions, worst mistakes, settings.

    Args:
        config: The configuration of the run.
        results: Its cells.
    """
    largest = max(score.texts for score in results[0].scores.classes)
    return render_page(
        "classify.html",
        {
            "config": config,
            "results": results,
            "best": next(result for result in results if result.cell == config["best_cell"]),
            "most_frequent": largest / results[0].scores.texts,
            "loss_chart": line_chart(_curves(results, "loss", "training_loss"), "loss"),
            "score_chart": line_chart(
                _curves(results, "accuracy", "validation_macro_f1"),
                "accuracy and macro F1",
                percent=True,
            ),
            "longest_label": max(len(score.label) for score in results[0].scores.classes),
            "largest_matrix": _LARGEST_MATRIX,
            "confusions": {result.cell: _confusions(result) for result in results},
        },
    )


def _curves(results: Sequence[CellResult], solid: str, dashed: str) -> list[Line]:
    lines = []
    for colour, result in enumerate(results):
        for name, is_dashed in ((f"validation_{solid}", False), (dashed, True)):
            values = [epoch.figures[name] for epoch in result.epochs]
            title = f"{result.cell} {name.replace('validation_', '').replace('_', ' ')}"
            title = title.replace("macro f1", "macro F1")
            if solid == "loss" and not is_dashed:
                title = f"{result.cell} validation loss"
            lines.append(Line(title, values, colour, is_dashed))
    return lines


def _confusions(result: CellResult) -> list[tuple[str, str, int]]:
    """The most frequent confusions: true label, predicted label, number of texts."""
    labels = [score.label for score in result.scores.classes]
    pairs = [
        (labels[row], labels[column], count)
        for row, counts in enumerate(result.scores.confusion)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:_LISTED_CONFUSIONS]
