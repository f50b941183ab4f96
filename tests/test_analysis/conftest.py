import pytest
from mmengine.config import Config
from mmengine.hub import get_config


@pytest.fixture
def mmdet_config(digits):
    """Makes a stock recipe of mmdet that reads the demo data."""

    def make(name: str) -> Config:
        cfg = get_config(f"mmdet::{name}.py")
        cfg.train_dataloader.dataset.update(
            data_root=f"{digits}/",
            ann_file="annotations/train.json",
            data_prefix=dict(img="train/"),
            metainfo=dict(classes=tuple("0123456789")),
        )
        return cfg

    return make
