"""The demo data, as a training reads them."""

from pathlib import Path
from typing import ClassVar

from mmengine.registry import DATASETS
from mmyolo.datasets import YOLOv5CocoDataset


@DATASETS.register_module()
class DigitsDataset(YOLOv5CocoDataset):
    """Digits in COCO format, as ``write_digits`` makes them.

    Raises:
        FileNotFoundError: The files have not been made yet.
    """

    METAINFO: ClassVar[dict] = dict(classes=tuple("0123456789"))

    def load_data_list(self) -> list[dict]:
        """The images with their boxes.

        Raises:
            FileNotFoundError: The data have not been made; the message says how.
        """
        if not Path(self.ann_file).exists():
            raise FileNotFoundError(
                f"{self.ann_file} does not exist; make the demo data first: "
                "python tools/dataset_converters/make_digits.py"
            )
        return super().load_data_list()
