"""Callback that writes extracted features to a feature store."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import BasePredictionWriter

from affect.storage.feature_store_writer import FeatureStoreWriter


class FeaturePredictionWriter(BasePredictionWriter):
    """Write each batch of features as one chunk of a store.

    Args:
        writer: Writer of the store.
    """

    def __init__(self, writer: FeatureStoreWriter) -> None:
        super().__init__(write_interval="batch")
        self.writer = writer

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: Any,
        batch_indices: Any,
        batch: Any,
        *_: Any,
    ) -> None:
        """Write a chunk."""
        self.writer.write(batch["chunk"], prediction.float().cpu().numpy(), batch["missing"])
