"""The ignored boxes of mmyolo's fast collate functions, on their way to the loss."""

from collections.abc import Sequence

from torch import Tensor


class FastSamplesMixin:
    """Put it before a head of mmyolo whose ``loss_by_feat`` takes ignored boxes."""

    def loss(
        self, x: Sequence[Tensor], batch_data_samples: list | dict
    ) -> dict[str, Tensor]:
        """Losses of one batch from its feature maps.

        Args:
            x: Feature maps, a level each.
            batch_data_samples: Data samples, of which ``ignored_instances`` are the
                ignored boxes; or, as the fast collate functions make it, a dict of
                ``bboxes_labels``, ``img_metas`` and, where there are ignored boxes,
                ``bboxes_ignored``, see ``loss_by_feat``; of a teacher's boxes
                ``trust`` too, which is for the head of YOLOv8.
        """
        if isinstance(batch_data_samples, list):
            return super().loss(x, batch_data_samples)
        trust = batch_data_samples.get("trust")
        return self.loss_by_feat(
            *self(x),
            batch_data_samples["bboxes_labels"],
            batch_data_samples["img_metas"],
            batch_data_samples.get("bboxes_ignored"),
            **({} if trust is None else dict(trust=trust)),
        )
