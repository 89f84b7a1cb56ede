"""All cells by name."""

from __future__ import annotations

import difflib

from anyrnn.cells import articles, elman, gru, linear, lstm
from anyrnn.errors import CellError, UnknownCellError
from anyrnn.graph.cell import Cell

CATALOGUE: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        elman.rnn,
        elman.rnn_relu,
        elman.rnn_output,
        lstm.lstm,
        lstm.lstm_1997,
        lstm.lstm_peephole,
        lstm.lstm_coupled,
        lstm.lstm_projection,
        gru.gru,
        gru.gru_reset_before,
        linear.mingru,
        linear.minlstm,
        linear.sru,
        linear.qrnn,
        articles.article1_rnn,
        articles.article1_lstm,
        articles.article1_gru,
        articles.article2_lstm,
        articles.article2_gru,
        articles.article3_lstm,
        articles.article3_gru,
        articles.article4_rnn,
        articles.article4_lstm,
        articles.article4_gru,
    )
}


def get(cell: str | Cell) -> Cell:
    """The cell of a name; a cell itself is returned as it is.

    Args:
        cell: A name in the catalogue, or a cell.

    Returns:
        The cell.

    Raises:
        UnknownCellError: No cell of that name; the message has the nearest ones.
        CellError: The argument is neither a name nor a cell.

    Example:
        >>> import anyrnn
        >>> anyrnn.get("gru").states
        ('h',)
    """
    if isinstance(cell, Cell):
        return cell
    if not isinstance(cell, str):
        raise CellError(
            f"{cell!r} is no cell; give a name such as 'lstm', or decorate the function with @cell"
        )
    found = CATALOGUE.get(cell.lower().replace("-", "_"))
    if found is None:
        near = difflib.get_close_matches(cell.lower(), CATALOGUE, 3, cutoff=0.4)
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(CATALOGUE)}"
        raise UnknownCellError(f"no cell is called '{cell}'; {hint}")
    return found
