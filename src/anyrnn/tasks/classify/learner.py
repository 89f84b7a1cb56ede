"""How a text classifier learns: cross-entropy, and its figures on the validation data."""

import torch
from torch.nn import functional
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from anyrnn.tasks.batches import Batch
from anyrnn.tasks.training import Learner, TrainingOptions


class ClassificationLearner(Learner):
    """Cross-entropy as the loss; accuracy and macro F1 on the validation data.

    Args:
        network: Gives logits for sequences and lengths.
        options: How it is trained.
        class_count: The number of classes.
    """

    def __init__(
        self, network: torch.nn.Module, options: TrainingOptions, class_count: int
    ) -> None:
        super().__init__(network, options)
        self.validation_loss = MeanMetric(nan_strategy="disable")
        self.validation_scores = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(class_count, average="micro"),
                "macro_f1": MulticlassF1Score(class_count, average="macro"),
            },
            prefix="validation_",
        )

    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean cross-entropy of a batch."""
        return functional.cross_entropy(self.network(batch.sequences, batch.lengths), batch.targets)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Note the figures of a batch."""
        logits = self.network(batch.sequences, batch.lengths)
        loss = functional.cross_entropy(logits, batch.targets)
        self.validation_loss.update(loss, len(batch.rows))
        self.validation_scores.update(logits, batch.targets)

    def on_validation_epoch_end(self) -> None:
        """Tell the figures of the epoch."""
        figures = {"validation_loss": self.validation_loss.compute()}
        figures |= self.validation_scores.compute()
        self.log_dict(figures)
        self.validation_loss.reset()
        self.validation_scores.reset()
