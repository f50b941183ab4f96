"""COCO's AP and recall by the size of the objects, in bins of one's own."""

import os.path as osp
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation import CocoMetric
from mmengine.fileio import load
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from terminaltables import AsciiTable

from .size_bins import bins_and_edges

EVALUATORS = {"pycocotools": COCOeval}
with suppress(ImportError):
    from faster_coco_eval import COCOeval_faster

    EVALUATORS = {"faster_coco_eval": COCOeval_faster, **EVALUATORS}


@METRICS.register_module()
class SizeBinnedCocoMetric(CocoMetric):
    """Box AP and recall for all objects and for each bin of object sizes.

    Takes the place of mmdet's ``CocoMetric``: with the default bins, ``bbox_mAP``,
    ``bbox_mAP_50``, ``_75``, ``_s``, ``_m`` and ``_l`` have the names and the meaning
    they have there, so ``save_best='coco/bbox_mAP'`` stays as it is. For all objects,
    and with the name of the bin behind it for each bin, it reports

    | name | what |
    | --- | --- |
    | ``bbox_mAP`` | AP, the mean over the IoUs 0.5, 0.55 … 0.95 |
    | ``bbox_mAP_50`` | AP at IoU 0.5 |
    | ``bbox_AR`` | recall, the mean over the same IoUs |
    | ``bbox_recall_50`` | recall at IoU 0.5 |

    and prints them as a table. Values are not rounded. Where the data has no object of
    a size or class, there is no number: nan, which plots leave out (``CocoMetric``
    says -1). Sides are the root of the ``area`` of the annotations, as COCO has it,
    or else of that of the box; an object on an edge counts in both bins.

    The numbers are those of pycocotools: its evaluation runs once, with the bins as its
    ``areaRng``. With [faster-coco-eval](https://github.com/MiXaiLL76/faster_coco_eval)
    (``pip install faster-coco-eval``) they are the same, and sooner there.

    Args:
        ann_file: Annotations in COCO format; ``None`` takes those of the data samples.
        size_bins: ``'coco'``: small, medium and large with edges at 32 and 96 px.
            ``'aitod'``: very tiny, tiny, small, medium and large with edges at 8, 16,
            32 and 64 px (in [AI-TOD](https://github.com/jwwangchn/cocoapi-aitod)'s
            own evaluation nothing is large, medium has no upper end, and ``max_dets``
            is 1500). Or the edges, increasing sides of a square: ``(12, 40)`` makes the
            bins ``0-12``, ``12-40`` and ``40-inf``.
        relative: The edges are parts of the root of the area of the image, such as
            ``(0.02, 0.1)``, in place of pixels.
        max_dets: Detections that count for each image and class, those of the highest
            scores. It replaces ``proposal_nums``, which is not used. (``CocoMetric``
            with its default takes 100 for ``bbox_mAP``, and 1000 for all the others.)
        min_boxes: A class counts in the means, for all objects and in a bin, where the
            data has at least so many boxes of it: a class of one small object moves
            them by points. Those of a class alone stay.
        evaluator: ``'faster_coco_eval'`` or ``'pycocotools'``; by default the first, if
            it is installed. Where image ids are strings it is the second.
        **kwargs: Of ``CocoMetric``: ``classwise``, ``outfile_prefix``, ``prefix``, …
            ``classwise=True`` adds rows to the table and, with and without the name of
            a bin, ``{class}_precision``, the AP of the class, ``{class}_precision_50``,
            ``{class}_AR`` and ``{class}_recall_50``; and ``{class}_boxes``, how many
            there are.

    Raises:
        ValueError: Bins that are unknown, not increasing or, where relative, not in
            (0, 1); ``max_dets`` or ``min_boxes`` below 1; an evaluator that is not
            installed; an argument of ``CocoMetric`` that has no meaning here.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        size_bins: str | Sequence[float] = "coco",
        relative: bool = False,
        max_dets: int = 100,
        min_boxes: int = 1,
        evaluator: str | None = None,
        **kwargs,
    ) -> None:
        refused = kwargs.keys() & {"iou_thrs", "metric_items", "use_mp_eval"}
        if refused or kwargs.get("metric", "bbox") not in ("bbox", ["bbox"]):
            raise ValueError(
                "SizeBinnedCocoMetric evaluates metric='bbox' at COCO's IoUs and "
                f"reports all it has; CocoMetric can do more, got {kwargs}"
            )
        for name, value in dict(max_dets=max_dets, min_boxes=min_boxes).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.bins, edges = bins_and_edges(size_bins, relative)
        # The ends are COCO's.
        self.area_ranges = [[lo**2, hi**2] for lo, hi in pairwise((0, *edges, 1e5))]
        self.relative = relative
        self.max_dets = max_dets
        self.min_boxes = min_boxes
        evaluator = evaluator or next(iter(EVALUATORS))
        if evaluator not in EVALUATORS:
            raise ValueError(
                f"evaluator must be one of {list(EVALUATORS)}, which are installed, "
                f"got {evaluator!r}"
            )
        self.evaluator = evaluator
        super().__init__(ann_file=ann_file, **kwargs)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the predictions of a batch, and its ground truth without ``ann_file``.

        Args:
            data_batch: Not used.
            data_samples: Predictions and ground truth of the images, as dicts.

        Raises:
            ValueError: There is neither ``ann_file`` nor ground truth in the samples.
        """
        if self._coco_api is None and not all("instances" in s for s in data_samples):
            raise ValueError(
                "SizeBinnedCocoMetric has no ann_file, and there is no ground truth in "
                "the data samples: give ann_file='annotations/val.json', or end the "
                "test pipeline with PackDetInputs(meta_keys=(..., 'instances')), with "
                "the meta_keys that it has in place of the dots"
            )
        super().process(data_batch, data_samples)

    def compute_metrics(self, results: list[tuple[dict, dict]]) -> dict[str, float]:
        """Evaluate.

        Args:
            results: Ground truth and predictions of each image, from ``process``.

        Returns:
            The reported numbers.
        """
        logger = MMLogger.get_current_instance()
        gts, preds = zip(*results, strict=True)
        with tempfile.TemporaryDirectory() as folder:
            outfile_prefix = self.outfile_prefix or osp.join(folder, "results")
            if self._coco_api is None:
                self._coco_api = COCO(self.gt_to_coco_json(gts, outfile_prefix))
            if self.img_ids is None:
                self.cat_ids = self._coco_api.get_cat_ids(self.dataset_meta["classes"])
                self.img_ids = self._coco_api.get_img_ids()
                self._check_classes(logger)
                _complete(self._coco_api)
                if self.relative:
                    _areas_to_shares(self._coco_api)
            predictions = load(self.results2json(preds, outfile_prefix)["bbox"])
        if self.format_only:
            logger.info(f"results are saved in {osp.dirname(outfile_prefix)}")
            return {}
        # loadRes cannot load nothing.
        coco_dt = self._coco_api.loadRes(predictions) if predictions else COCO()
        if self.relative:
            _areas_to_shares(coco_dt)

        evaluator = self.evaluator
        if any(isinstance(img_id, str) for img_id in self.img_ids):
            evaluator = "pycocotools"  # the other one takes numbers only
        logger.info(f"Evaluating bbox with {evaluator}...")
        coco_eval = EVALUATORS[evaluator](self._coco_api, coco_dt, "bbox")
        params = coco_eval.params
        params.catIds = self.cat_ids
        params.imgIds = self.img_ids
        params.maxDets = [self.max_dets]
        params.areaRng = [[0, 1e10], *self.area_ranges]
        params.areaRngLbl = ["all", *self.bins]
        coco_eval.evaluate()
        coco_eval.accumulate()
        return self._report(coco_eval, logger)

    def _check_classes(self, logger: MMLogger) -> None:
        """Labels count the categories of a file: is that the order of the classes?"""
        classes = list(self.dataset_meta["classes"])
        names = [self._coco_api.cats[cat_id]["name"] for cat_id in self.cat_ids]
        if names != classes:
            logger.warning(
                f"the annotations have the categories {names}, the classes are "
                f"{classes}: mmdet numbers labels by the annotations, so those of "
                "training and evaluation must have the same categories in one order"
            )

    def _report(self, coco_eval: COCOeval, logger: MMLogger) -> dict[str, float]:
        precision = coco_eval.eval["precision"][..., -1]  # (IoU, recall, class, size)
        recall = coco_eval.eval["recall"][..., -1]  # (IoU, class, size)
        sizes = coco_eval.params.areaRngLbl
        boxes = _count_boxes(coco_eval)  # (class, size)
        is_rare = boxes < self.min_boxes

        def by_size(
            classes: int | slice, precision: np.ndarray, recall: np.ndarray
        ) -> list[dict[str, float]]:
            return [
                dict(
                    mAP=_mean(precision[:, :, classes, size]),
                    mAP_50=_mean(precision[0, :, classes, size]),
                    AR=_mean(recall[:, classes, size]),
                    recall_50=_mean(recall[0, classes, size]),
                )
                for size in range(len(sizes))
            ]

        precision_of_all = np.where(is_rare, -1, precision)
        of_all = by_size(slice(None), precision_of_all, np.where(is_rare, -1, recall))
        of_classes, numbers = {}, {}
        if self.classwise:
            evaluated = list(coco_eval.params.catIds)  # sorted, other than cat_ids
            for cat_id in self.cat_ids:
                name, index = (
                    self._coco_api.cats[cat_id]["name"],
                    evaluated.index(cat_id),
                )
                of_classes[name] = by_size(index, precision, recall)
                numbers[name] = boxes[index]

        names = list(of_all[0])
        rows = [
            [group, size, *(f"{value:.3f}" for value in values.values())]
            for group, of_sizes in [("all", of_all), *of_classes.items()]
            for size, values in zip(sizes, of_sizes, strict=True)
        ]
        logger.info(f"\n{AsciiTable([['class', 'size', *names], *rows]).table}")

        suffixes = ["", *(f"_{name}" for name in self.bins)]
        metrics = {
            f"bbox_{name}{suffix}": values[name]
            for name in names
            for suffix, values in zip(suffixes, of_all, strict=True)
        }
        metrics["bbox_mAP_75"] = _mean(precision_of_all[5, :, :, 0])
        metrics |= {
            f"{name}_boxes{suffix}": int(number)
            for name, of_sizes in numbers.items()
            for suffix, number in zip(suffixes, of_sizes, strict=True)
        }
        return metrics | {
            f"{group}_{name.replace('mAP', 'precision')}{suffix}": value
            for group, of_sizes in of_classes.items()
            for suffix, values in zip(suffixes, of_sizes, strict=True)
            for name, value in values.items()
        }


def _complete(coco: COCO) -> None:
    """Give annotations what COCO's evaluation needs and other tools leave out."""
    for annotation in coco.anns.values():
        _, _, width, height = annotation["bbox"]
        annotation.setdefault("area", width * height)
        annotation.setdefault("iscrowd", 0)


def _count_boxes(coco_eval: COCOeval) -> np.ndarray:
    """How many boxes are looked for, by class and size, (C, S)."""
    params = coco_eval.params
    ranges = np.array(params.areaRng)  # (S, 2)
    images, classes = set(params.imgIds), list(params.catIds)
    numbers = np.zeros((len(classes), len(ranges)), int)
    for annotation in coco_eval.cocoGt.anns.values():
        is_one = annotation["category_id"] in classes and not annotation["iscrowd"]
        if is_one and annotation["image_id"] in images:
            row = numbers[classes.index(annotation["category_id"])]
            area = annotation["area"]
            row += (ranges[:, 0] <= area) & (area <= ranges[:, 1])
    return numbers


def _areas_to_shares(coco: COCO) -> None:
    """Divide the area of each annotation by that of its image."""
    for annotation in coco.anns.values():
        image = coco.imgs[annotation["image_id"]]
        annotation["area"] /= image["width"] * image["height"]


def _mean(values: np.ndarray) -> float:
    """The mean over what is there: COCO marks with -1 what is not."""
    values = values[values > -1]
    return float(values.mean()) if values.size else float("nan")
