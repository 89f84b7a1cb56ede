"""The network of tagging: words and their characters, recurrent layers, a score for each tag."""

from collections.abc import Sequence

import torch
from torch import nn

from anyrnn.tasks.data.vocabulary import PADDING_ID, UNKNOWN_ID
from anyrnn.tasks.networks.layers import recurrent_layers, small_embedding
from anyrnn.tasks.networks.pooling import pooled
from anyrnn.tasks.tag.crf import ConditionalRandomField
from anyrnn.tasks.tag.options import Characters
from anyrnn.torch import Recurrent


class TagNetwork(nn.Module):
    """Word embedding beside a recurrent layer over the word's characters, dropout, recurrent
    layers over the sentence, dropout, dense; perhaps a conditional random field.

    Args:
        cell: A name of the catalogue, such as "lstm"; both recurrent parts have it.
        frequencies: How often each word occurs in the training sentences, by its number from 2 on.
        character_count: The number of characters.
        tag_count: The number of tags.
        embedding_size: The size of a word's vector.
        characters: What of the outputs over a word's characters is used: the last one of each
            direction, the largest value of each unit, or nothing.
        character_size: The size of a character's vector and of the layer over characters, for each
            direction.
        hidden_size: The size of a recurrent layer, for each direction.
        layers: The number of recurrent layers.
        bidirectional: Whether the layers over the sentence also read backwards.
        word_dropout: A word of frequency n is read as an unknown one with the probability
            word_dropout / (word_dropout + n), in training, so that there are unknown ones to learn
            from (Kiperwasser & Goldberg 2016).
        dropout: The share of values dropped before, between and after the recurrent layers.
        crf: Whether pairs of neighbouring tags have scores, too.

    Raises:
        UnknownCellError: There is no such cell.

    Example:
        >>> network = TagNetwork("gru", [9, 5, 1], 40, 5, hidden_size=8)
        >>> words = torch.tensor([[4, 2, 3], [2, 0, 0]])
        >>> letters = torch.ones(2, 3, 6, dtype=torch.int64)
        >>> network(words, torch.tensor([3, 1]), letters, words).shape
        torch.Size([2, 3, 5])
    """

    rarity: torch.Tensor

    def __init__(
        self,
        cell: str,
        frequencies: Sequence[int],
        character_count: int,
        tag_count: int,
        *,
        embedding_size: int = 100,
        characters: Characters = "last",
        character_size: int = 50,
        hidden_size: int = 150,
        layers: int = 1,
        bidirectional: bool = True,
        word_dropout: float = 0.25,
        dropout: float = 0.5,
        crf: bool = False,
    ) -> None:
        super().__init__()
        self.pool = characters
        rarity = [0.0] * (UNKNOWN_ID + 1) + [word_dropout / (word_dropout + f) for f in frequencies]
        self.register_buffer("rarity", torch.tensor(rarity), persistent=False)
        self.words = small_embedding(len(rarity), embedding_size)
        input_size = embedding_size
        if characters != "none":
            self.characters = nn.Embedding(character_count, character_size, padding_idx=PADDING_ID)
            self.spelling = Recurrent(
                cell, character_size, character_size, batch_first=True, bidirectional=True
            )
            input_size += 2 * self.spelling.output_size
        self.dropout = nn.Dropout(dropout)
        self.recurrent = recurrent_layers(
            cell, input_size, hidden_size, layers, dropout, bidirectional=bidirectional
        )
        directions = 2 if bidirectional else 1
        self.dense = nn.Linear(self.recurrent.output_size * directions, tag_count)
        self.crf = ConditionalRandomField(tag_count) if crf else None

    def forward(
        self,
        words: torch.Tensor,
        lengths: torch.Tensor,
        characters: torch.Tensor,
        forms: torch.Tensor,
    ) -> torch.Tensor:
        """The score of each tag at each step.

        Args:
            words: Padded word numbers, (batch, time).
            lengths: The number of words of each sentence, (batch).
            characters: Padded character numbers of each word, (batch, time, characters).
            forms: Equal for words of equal characters, (batch, time).

        Returns:
            Scores, (batch, time, tags).
        """
        if self.training:
            unread = torch.rand(words.shape, device=words.device) < self.rarity[words]
            words = words.masked_fill(unread, UNKNOWN_ID)
        vectors = self.words(words)
        if self.pool != "none":
            vectors = torch.cat([vectors, self._spelled(characters, forms)], dim=2)
        output, _ = self.recurrent(self.dropout(vectors), lengths=lengths)
        return self.dense(self.dropout(output))

    def losses(
        self, scores: torch.Tensor, tags: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """The loss of each sentence, in nats; where a tag is negative, it says nothing.

        Args:
            scores: What `forward` gave.
            tags: The true tags, (batch, time), negative after the end.
            lengths: The number of words of each sentence, (batch).
        """
        if self.crf:
            return self.crf.losses(scores, tags, lengths)
        every = nn.functional.cross_entropy(
            scores.transpose(1, 2), tags, ignore_index=-1, reduction="none"
        )
        return every.sum(1)

    def decode(self, scores: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The tags of the largest score, (batch, time)."""
        return self.crf.decode(scores, lengths) if self.crf else scores.argmax(2)

    def probabilities(self, scores: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The probability of each tag at each step, (batch, time, tags)."""
        return self.crf.marginals(scores, lengths) if self.crf else scores.softmax(2)

    def _spelled(self, characters: torch.Tensor, forms: torch.Tensor) -> torch.Tensor:
        """A vector for each word from its characters; equal words are read once."""
        distinct, form = forms.unique(return_inverse=True)
        places = torch.empty_like(distinct)
        places[form.flatten()] = torch.arange(form.numel(), device=form.device)
        spelling = characters.flatten(0, 1)[places]
        lengths = (spelling != PADDING_ID).sum(1)
        # Padding between sentences has no character, but a layer needs one to read.
        lengths = lengths.clamp_min(1)
        output, _ = self.spelling(
            self.characters(spelling[:, : int(lengths.max())]), lengths=lengths
        )
        pool = "max" if self.pool == "max" else "last"
        vectors = pooled(output, lengths, pool, bidirectional=True)
        # The gradient of an index with brackets is summed by several threads in any order.
        return vectors.index_select(0, form.flatten()).unflatten(0, form.shape)
