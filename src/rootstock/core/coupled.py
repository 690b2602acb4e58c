"""What is learned from all rows of an update together, such as with the others as negatives.

Shape letters: B rows, V views of a row, H width.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from rootstock.core.task import Batch, Loss


class Coupled(ABC):
    """A loss that does not add up over the rows of an update.

    The loop computes all vectors without gradients, then the loss on them, then each micro-batch once more with its share of the gradient
    (Gao et al. 2021, arXiv:2101.06983), so the update can be far larger than what fits in memory.
    """

    @abstractmethod
    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        """Vectors of the rows, [B, V, H], V views a row."""

    @abstractmethod
    def couple(self, model: nn.Module, vectors_BVH: Tensor, labels: Tensor | None = None) -> Loss:
        """Summed loss of all rows of an update; gradients flow to the vectors and to what the model itself brings (a temperature).

        labels: what the batches have under "labels", [B] or [B, …]; None where they have none.
        """

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """The rows of one batch coupled with each other."""
        return self.couple(model, self.embed(model, batch), batch.get("labels"))


class Lesson(Coupled):
    """One that is learned for itself, before what the run's task asks."""

    @property
    @abstractmethod
    def chosen_by(self) -> tuple[str, ...]:
        """Figures by which its states would be told apart."""
