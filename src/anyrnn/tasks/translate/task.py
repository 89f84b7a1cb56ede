"""Translation as a task."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from anyrnn.errors import DataError, OptionError, RunError, option_name
from anyrnn.tasks.data.batches import Batch, Batches, Column
from anyrnn.tasks.data.encoding import given_texts
from anyrnn.tasks.data.kept import Kept
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.data.sequences import Sequences
from anyrnn.tasks.data.streams import IGNORED
from anyrnn.tasks.decoding.decoder import preceding, repeated_attention
from anyrnn.tasks.decoding.search_options import check_search
from anyrnn.tasks.decoding.text_scores import bleu_metric, bleu_tokens, reference_losses
from anyrnn.tasks.decoding.written_tokens import END_MARK
from anyrnn.tasks.decoding.written_vocabulary import WrittenVocabulary
from anyrnn.tasks.options.common_options import KIND_OF_TOKENS
from anyrnn.tasks.options.declaration import check_needs
from anyrnn.tasks.run_files import CONFIG, entry
from anyrnn.tasks.scores.figures import LOSS, PERPLEXITY, Figure
from anyrnn.tasks.scores.nearest import nearest
from anyrnn.tasks.task import Metric, ScoreTable, Step, Task
from anyrnn.tasks.translate.data import Part, read, read_part
from anyrnn.tasks.translate.model import TranslationNetwork
from anyrnn.tasks.translate.options import (
    DataOptions,
    Options,
    PredictOptions,
    SearchOptions,
)
from anyrnn.tasks.translate.scores import (
    Alignment,
    Example,
    TranslationScores,
    figures_of,
)
from anyrnn.tasks.translate.sides import make_sides
from anyrnn.tasks.translate.translating import Translating, Translation, hypotheses

_SIDES = ("source", "target")
_READ_AT_ONCE = 64  # lines
_BATCH_SIZE = 64
_EXAMPLES, _WORST, _TOLD = 12, 8, 5
_ALIGNMENTS, _LONGEST_ALIGNED = 4, 40


@dataclass(frozen=True)
class Translate(Task[Options, Part, TranslationNetwork]):
    """Sentences and their translations.

    Attributes:
        options: What the user chose.
        source, target: Sentences of each side to tokens and back.
        bleu_tokens: How sacrebleu divides the target into words.
    """

    name = "translate"
    options_type = Options
    title = "translation"
    unit = "pair"
    units = "pairs"
    figures = (
        Figure("bleu", "BLEU", once=True, digits=1),
        Figure("chrf", "chrF", once=True, digits=1),
        Figure("exact", "exact", percent=True, once=True),
        replace(PERPLEXITY, title="ppl"),
        LOSS,
    )
    template = "translate.html"

    options: Options
    source: WrittenVocabulary
    target: WrittenVocabulary
    bleu_tokens: str
    _encoded: Kept[Part, tuple[Sequences, Sequences]] = field(
        default_factory=Kept, repr=False, compare=False
    )

    @classmethod
    def read(cls, options: Options) -> Data[Part]:
        """Read and split the files."""
        return read(options.data, options.training.seed)

    @classmethod
    def prepare(cls, options: Options, training: Part, noted: Callable[[str], None]) -> Self:
        """Make the vocabularies."""
        sides = make_sides(training.sources, training.targets, options.vocabulary)
        check_needs(options, data={KIND_OF_TOKENS: tuple(f"{each.kind} tokens" for each in sides)})
        found = cls(options, *sides, bleu_tokens(training.targets))
        named = zip(_SIDES, sides, strict=True)
        kinds = [f"{name} {side.kind}, {side.size:,} in the vocabulary" for name, side in named]
        noted(f"tokens: {'; '.join(kinds)}")
        left_out = len(training) - len(found._learned_from(training)[0])
        if left_out:
            noted(
                f"left out of the training: {left_out:,} pair(s) with more than "
                f"{options.vocabulary.maximum_length:,} tokens on a side"
            )
        return found

    @classmethod
    def restore(cls, options: Options, state: Mapping[str, Any], run: Path) -> Self:
        """Take the tokenizers of a run."""
        path = run / CONFIG
        source, target = (
            WrittenVocabulary.restored(state, run, f"{side}_tokens", f"{side}.json")
            for side in _SIDES
        )
        if options.vocabulary.shared_vocabulary and source.size != target.size:
            raise RunError(f"the run is damaged: {path} says that the vocabularies are one")
        return cls(options, source, target, entry(state, "bleu_tokens", str, path))

    @classmethod
    def main_file(cls, options: Options) -> Path:
        """The table, or the file of the source."""
        return options.data.data or Path(options.data.source)

    def check_named(self, changes: Mapping[str, Any]) -> None:
        """A table is needed, or two files; columns of the one are no names of the others."""
        named = {"data", "source", "target"} & changes.keys()
        if "data" not in named and len(named) < 2:
            here = f"only {option_name(min(named))} is given" if named else "no file is named"
            raise OptionError(
                f"{here}: give a table with {option_name('data')}, or two files with "
                f"{option_name('source')} and {option_name('target')}"
            )
        here = "files" if changes.get("data") is None else "a table"
        trained = "files" if self.options.data.data is None else "a table"
        if here != trained and len({"source", "target"} & named) < 2:
            raise OptionError(
                f"this run was trained on {trained}, and {option_name('source')} and "
                f"{option_name('target')} of {here} are not the same: give both"
            )

    def read_part(self, options: DataOptions) -> tuple[Part, dict[str, object]]:
        """Read a table or two files."""
        part = read_part(options)
        return part, {"skipped": dict(part.skipped)}

    def state(self) -> dict[str, Any]:
        """The kinds of tokens, and how BLEU is computed."""
        return {
            "source_tokens": self.source.kind,
            "target_tokens": self.target.kind,
            "bleu_tokens": self.bleu_tokens,
        }

    def files(self) -> dict[str, str]:
        """The tokenizers."""
        return self.source.files("source.json") | self.target.files("target.json")

    def baselines(self, data: Data[Part]) -> dict[str, dict[str, float]]:
        """The translation of the most similar sentence of the training."""
        measured = data.measured[1]
        rows = nearest(data.training.sources, measured.sources)
        found = [data.training.targets[row] for row in rows]
        return {"nearest": self._figures(found, measured.targets)[0]}

    def network(self, cell: str) -> TranslationNetwork:
        """A network of the chosen sizes."""
        shared = self.options.vocabulary.shared_vocabulary
        sizes = (self.source.size, self.target.size)
        return TranslationNetwork(cell, *sizes, shared=shared, **asdict(self.options.model))

    def batches(self, part: Part, batch_size: int, seed: int | None) -> Batches:
        """Sources and targets."""
        sources, targets = self._cut(part) if seed is None else self._learned_from(part)
        padded = partial(Column, padded=True)
        columns = {
            "source": padded(sources, lengths=sources.lengths),
            "target": padded(targets, lengths=targets.lengths, padding=IGNORED),
        }
        return Batches(columns, batch_size, seed)

    def _learned_from(self, part: Part) -> tuple[Sequences, Sequences]:
        """The tokens of both sides, without pairs that are too long; they are kept."""
        return self._encoded.of(part, lambda: self._short(part))

    def _short(self, part: Part) -> tuple[Sequences, Sequences]:
        longest = self.options.vocabulary.maximum_length
        found = self._cut(part, longest + 1)  # one more tells
        kept = (found[0].lengths <= longest + 1) & (found[1].lengths <= longest + 1)
        if not kept.any():
            raise DataError(
                f"all {len(part):,} pairs of {part.path} have more than {longest:,} tokens on a "
                f"side; raise {option_name('maximum_length')}"
            )
        rows = kept.nonzero()[0]
        return found if kept.all() else (found[0].taken(rows), found[1].taken(rows))

    def _cut(self, part: Part, longest: int | None = None) -> tuple[Sequences, Sequences]:
        """The tokens of both sides, so many of each sentence."""
        longest = longest or self.options.vocabulary.maximum_length
        return (
            self.source.encode(part.sources, longest),
            self.target.encode(part.targets, longest),
        )

    def step(self, network: TranslationNetwork, batch: Batch, carried: Any = None) -> Step:
        """Cross-entropy of each token, given those before it and the source."""
        targets = batch["target"]
        lengths, tokens = batch.lengths, preceding(targets)
        vectors, weights = network(batch["source"], lengths["source"], tokens, lengths["target"])
        losses = network.decoder.losses(vectors, targets)
        counts = targets != IGNORED
        count, total = int(counts.sum()), losses.sum()
        if network.training and self.options.coverage_loss and weights is not None:
            repeated = repeated_attention(weights)[counts].sum()
            total = total + self.options.coverage_loss * repeated
        greedy = None
        if self.deciding == "bleu" and not network.training:
            sentences = (batch["source"], lengths["source"])
            greedy = [found[0] for found in hypotheses(network, *sentences, SearchOptions(beam=1))]
        return Step.mean_of(total, count, (losses, greedy))

    def metrics(self) -> dict[str, Metric]:
        """BLEU, if it decides."""
        if self.deciding != "bleu":
            return {}
        return {"bleu": bleu_metric(self.bleu_tokens, self.options.vocabulary.lowercase)}

    def measure(self, metrics: Mapping[str, Metric], step: Step, batch: Batch) -> None:
        """Update it with greedy translations."""
        _, greedy = step.output
        if greedy is None:
            return
        references = self.target.references(batch["target"], batch.lengths["target"])
        metrics["bleu"].update([self.target.text(each.tokens) for each in greedy], references)

    def score(
        self, network: TranslationNetwork, part: Part, check: Callable[[], None] = lambda: None
    ) -> TranslationScores:
        """Translate all sources, and compare."""
        losses = reference_losses(self, network, self.batches(part, _BATCH_SIZE, None), check)
        sources, references = list(part.sources), list(part.targets)
        search = SearchOptions(beam=self.options.beam)
        translating = self._translating(network, search)
        found = list(translating.run(sources, warn=False, check=check))
        texts = [each.text for each in found]
        figures, signatures = self._figures(texts, references)
        copied, _ = self._figures(sources, references)

        def example(row: int) -> Example:
            return Example(sources[row], references[row], texts[row], losses.rows[row])

        worst = sorted(range(len(part)), key=lambda row: -losses.rows[row])
        shown = part.spread(_EXAMPLES)
        return TranslationScores(
            count=len(part),
            figures=figures | losses.figures,
            signatures=signatures,
            unknown=losses.unknown,
            cut=sum(not each.best.ended for each in found),
            examples=[example(row) for row in shown],
            worst=[example(row) for row in worst[:_WORST]],
            alignments=self._alignments([found[row] for row in shown]),
            baselines={"copied": copied},
        )

    def _figures(
        self, translations: Sequence[str], references: Sequence[str]
    ) -> tuple[dict[str, float], dict[str, str]]:
        lowercase = self.options.vocabulary.lowercase
        return figures_of(translations, references, self.bleu_tokens, lowercase=lowercase)

    def _alignments(self, found: Sequence[Translation]) -> list[Alignment]:
        """What the first translations attended to that are not too long to be shown."""
        aligned = []
        for each in found:
            weights = each.best.weights
            source = [*self.source.pieces(each.source), END_MARK]
            if weights is None or max(weights.shape) > _LONGEST_ALIGNED:
                continue
            target = self.target.shown_at(each.best, len(weights))
            rounded = [[round(value, 3) for value in row] for row in weights.tolist()]
            aligned.append(Alignment(source[: weights.shape[1]], target, rounded))
        return aligned[:_ALIGNMENTS]

    def tables(self, scores: TranslationScores) -> list[ScoreTable]:
        """The signatures of the figures, and some translations."""
        signatures = list(scores.signatures.items())
        rows = [(each.source, each.translation, each.reference) for each in scores.examples]
        return [
            ScoreTable(("figure", "signature of sacrebleu"), signatures, numbers=False),
            ScoreTable(("source", "translation", "reference"), rows[:_TOLD], numbers=False),
        ]

    def predict(
        self, network: TranslationNetwork, inputs: Sequence[str], **search: Any
    ) -> list[Translation]:
        """The translations of sentences.

        Args:
            network: The network.
            inputs: The sentences; one without a token has an empty translation.
            search: See `SearchOptions`: beam, n_best, length_penalty, ...
        """
        return list(self.translations(network, inputs, SearchOptions(**search)))

    def translations(
        self,
        network: TranslationNetwork,
        sentences: Iterable[str],
        search: SearchOptions,
        at_once: int = 1024,
    ) -> Iterator[Translation]:
        """The translations of sentences, in their order; of one that is too long it warns.

        Args:
            network: The network.
            sentences: The sentences.
            search: How they are searched for.
            at_once: How many are asked for together.

        Raises:
            OptionError: An option has no effect beside the others, or does not fit them.
        """
        check_search(search, attention=self.options.model.attention != "none")
        check_needs(search, data={KIND_OF_TOKENS: (f"{self.target.kind} tokens",)})
        return self._translating(network, search).run(sentences, at_once=at_once)

    def _translating(self, network: TranslationNetwork, search: SearchOptions) -> Translating:
        longest = self.options.vocabulary.maximum_length
        return Translating(network, self.source, self.target, longest, search)

    def answers(
        self, network: TranslationNetwork, options: PredictOptions
    ) -> Iterator[dict[str, object]]:
        """The translations of the sentences of the command line, a file or standard input."""
        for each in self.asked(network, options):
            yield {"source": each.source, **each.answer("translation")}

    def asked(self, network: TranslationNetwork, options: PredictOptions) -> Iterator[Translation]:
        """The translations of the sentences of the command line, a file or standard input."""
        sentences = given_texts(options.texts, options.file, options.encoding)
        return self.translations(network, sentences, options.search, _READ_AT_ONCE)

    def pictures(self, results: Sequence[Any]) -> dict[str, object]:
        """What is translated into what."""
        data = self.options.data
        where = f" of {data.data}" if data.data else ""
        return {"named": f"{data.source} to {data.target}{where}"}
