"""The network of a language model: embedding, recurrent layers, softmax over the vocabulary."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from anyrnn.tasks.data.streams import IGNORED
from anyrnn.tasks.generate.options import SMALLEST_ADAPTIVE
from anyrnn.tasks.networks.layers import draw_uniform, recurrent_layers

# Where the adaptive softmax ends its first cluster and each further one, as shares of the tokens.
_CUTOFFS = (0.1, 0.4)
# How much smaller the vectors of each cluster are than those of the one before.
_SHRINKING = 4


class LanguageNetwork(nn.Module):
    """Embedding, dropout, recurrent layers, dropout, softmax.

    Args:
        cell: A name of the catalogue, such as "lstm".
        vocabulary_size: The number of tokens, the most frequent ones first.
        embedding_size: The size of a token's vector.
        hidden_size: The size of a recurrent layer.
        layers: The number of recurrent layers.
        dropout: The share of values dropped after the embedding, between layers and before the
            softmax (Zaremba, Sutskever and Vinyals 2014, arXiv 1409.2329).
        locked_dropout: Whether all steps of a batch have one mask (Gal and Ghahramani 2016,
            arXiv 1512.05287).
        weight_dropout: The share of the recurrent matrices' elements dropped for a whole batch
            (Merity, Keskar and Socher 2017, arXiv 1708.02182).
        tied: Whether the softmax has the embedding's weights (Press and Wolf 2017, arXiv
            1608.05859); where the sizes differ, a linear layer stands between.
        adaptive_softmax: Whether rare tokens are predicted in two stages with smaller vectors, for
            large vocabularies (Grave et al. 2017, arXiv 1609.04309); it is never tied.

    Raises:
        UnknownCellError: There is no such cell.

    Example:
        >>> network = LanguageNetwork("gru", 50, embedding_size=8, hidden_size=8)
        >>> outputs, state = network(torch.tensor([[4, 9, 7]]))
        >>> network.log_probabilities(outputs).shape
        torch.Size([1, 3, 50])
    """

    def __init__(
        self,
        cell: str,
        vocabulary_size: int,
        *,
        embedding_size: int = 128,
        hidden_size: int = 256,
        layers: int = 1,
        dropout: float = 0.2,
        locked_dropout: bool = False,
        weight_dropout: float = 0.0,
        tied: bool = False,
        adaptive_softmax: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.dropout, self.locked_dropout = dropout, locked_dropout
        self.recurrent = recurrent_layers(
            cell,
            embedding_size,
            hidden_size,
            layers,
            0.0 if locked_dropout else dropout,
            input_dropout=dropout if locked_dropout else 0.0,
            weight_dropout=weight_dropout,
        )
        size = self.recurrent.output_size
        self.between = nn.Linear(size, embedding_size) if tied and size != embedding_size else None
        self.softmax: nn.Linear | nn.AdaptiveLogSoftmaxWithLoss | None = None
        if adaptive_softmax and vocabulary_size >= SMALLEST_ADAPTIVE:
            cutoffs = [int(share * vocabulary_size) for share in _CUTOFFS]
            shrinking = _SHRINKING if size >= _SHRINKING ** len(cutoffs) else 1
            self.softmax = nn.AdaptiveLogSoftmaxWithLoss(size, vocabulary_size, cutoffs, shrinking)
        else:
            self.bias = nn.Parameter(torch.zeros(vocabulary_size))
            if not tied:
                self.softmax = nn.Linear(size, vocabulary_size, bias=False)
                draw_uniform(self.softmax.weight)
        draw_uniform(self.embedding.weight)

    def forward(
        self,
        tokens: torch.Tensor,
        state: Any = None,
        lengths: torch.Tensor | None = None,
        resets: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Any]:
        """Read tokens.

        Args:
            tokens: Their numbers, (batch, time).
            state: The state that an earlier call gave; zeros without one.
            lengths: The number of tokens of each row, if they differ.
            resets: Whether a text begins at a token, (batch, time): the state before it is
                forgotten.

        Returns:
            What the softmax reads, (batch, time, size), and the state after the last tokens.
        """
        vectors = self.embedding(tokens)
        if not self.locked_dropout:
            vectors = functional.dropout(vectors, self.dropout, self.training)
        outputs, state = self.recurrent(vectors, state, lengths, resets=resets, reset_state=None)
        if self.locked_dropout:
            mask = functional.dropout(torch.ones_like(outputs[:, :1]), self.dropout, self.training)
            outputs = outputs * mask
        else:
            outputs = functional.dropout(outputs, self.dropout, self.training)
        return (outputs if self.between is None else self.between(outputs)), state

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The cross-entropy of each token that counts, in nats, in the order of rows and steps.

        Args:
            outputs: What `forward` gave.
            targets: The tokens that follow, (batch, time); `IGNORED` where none does.
        """
        outputs, targets = outputs.flatten(0, 1), targets.flatten()
        counts = targets != IGNORED
        if not counts.all():
            outputs, targets = outputs[counts], targets[counts]
        if isinstance(self.softmax, nn.AdaptiveLogSoftmaxWithLoss):
            return -self.softmax(outputs.float(), targets).output
        return functional.cross_entropy(self._logits(outputs), targets, reduction="none")

    def log_probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        """The logarithm of the probability of each token, (batch, time, vocabulary)."""
        if isinstance(self.softmax, nn.AdaptiveLogSoftmaxWithLoss):
            flat = self.softmax.log_prob(outputs.flatten(0, 1).float())
            return flat.unflatten(0, outputs.shape[:2])
        return self._logits(outputs).float().log_softmax(-1)

    def _logits(self, outputs: torch.Tensor) -> torch.Tensor:
        weights: nn.Linear | nn.Embedding = self.softmax or self.embedding  # pyright: ignore
        return functional.linear(outputs, weights.weight, self.bias)
