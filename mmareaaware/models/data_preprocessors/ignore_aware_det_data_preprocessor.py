"""The last step of ignored boxes before the model."""

import torch
from mmengine.registry import MODELS
from mmyolo.models import PPYOLOEDetDataPreprocessor, YOLOv5DetDataPreprocessor


class IgnoreAwareMixin:
    """Put it before a preprocessor of mmyolo, to have the ignored boxes handed on.

    The stock ones build new data samples of the keys that they know. Batch augments
    resize the ignored boxes with the others. Goes with ``ignore_aware_collate``.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Move, normalize and augment a batch.

        Args:
            data: ``inputs`` and ``data_samples``; in training the latter is a dict with
                ``bboxes_labels`` (G, 6) and ``bboxes_ignored`` (M, 5), of which the
                first column is the image.
            training: Whether the batch is trained on.

        Returns:
            What the stock one returns, and ``bboxes_ignored`` (M, 5) among its
            ``data_samples``, on the same device.

        Raises:
            ValueError: In training, when the batch has no ``bboxes_ignored``, or a
                batch augment took or added boxes.
        """
        if not training:
            return super().forward(data, training)
        samples = data["data_samples"]
        is_dict = isinstance(samples, dict)
        if not is_dict or "bboxes_ignored" not in samples:
            got = sorted(samples) if is_dict else f"a {type(samples).__name__}"
            raise ValueError(
                f"{type(self).__name__} needs data_samples['bboxes_ignored'], "
                f"got {got}: set train_dataloader.collate_fn="
                "dict(type='ignore_aware_collate'), and mmdet.LoadAnnotations in place "
                "of MMYOLO's, which drops ignored boxes; "
                "mmareaaware.datasets.ignore_aware does all of it"
            )
        # Batch augments know one tensor of boxes: the ignored ones are its last rows,
        # with the image instead of a label.
        data = self.cast_data(data)  # from pinned memory, before anything is copied
        samples = data["data_samples"]
        boxes, ignored = samples["bboxes_labels"], samples["bboxes_ignored"]
        rows = torch.cat([ignored[:, :1], ignored], 1)
        samples = dict(samples, bboxes_labels=torch.cat([boxes, rows]))
        output = super().forward(dict(data, data_samples=samples), training)
        samples = output["data_samples"]
        augmented = samples["bboxes_labels"]
        if len(augmented) != len(boxes) + len(ignored):
            raise ValueError(
                f"a batch augment made {len(augmented)} boxes of {len(boxes)} and "
                f"{len(ignored)} ignored ones, which cannot be told apart any more: "
                "take it out of model.data_preprocessor.batch_augments"
            )
        samples["bboxes_labels"], rows = augmented.split([len(boxes), len(ignored)])
        samples["bboxes_ignored"] = torch.cat([rows[:, :1], rows[:, 2:]], 1)
        return output


@MODELS.register_module()
class IgnoreAwareDetDataPreprocessor(IgnoreAwareMixin, YOLOv5DetDataPreprocessor):
    """``YOLOv5DetDataPreprocessor`` that hands the ignored boxes on."""


@MODELS.register_module()
class IgnoreAwarePPYOLOEDetDataPreprocessor(
    IgnoreAwareMixin, PPYOLOEDetDataPreprocessor
):
    """``PPYOLOEDetDataPreprocessor`` that hands the ignored boxes on."""
