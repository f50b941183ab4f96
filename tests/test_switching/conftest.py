"""Stock recipes, read once."""

from copy import deepcopy
from functools import cache

import pytest
from mmengine.config import Config
from mmengine.hub import get_config

YOLOV8 = "mmyolo::yolov8/yolov8_s_syncbn_fast_8xb16-500e_coco.py"
RETINANET = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"

_read = cache(get_config)


@pytest.fixture(scope="session")
def stock():
    """Gives a copy of a stock recipe."""

    def get(name: str) -> Config:
        return deepcopy(_read(name))

    return get
