"""The blocks of docs/switch_on.md do what the page says."""

import re

from mmengine.config import Config

from .conftest import YOLOV8


def test_the_blocks(root, tmp_path, monkeypatch, stock):
    text = (root / "docs/switch_on.md").read_text()
    in_a_file, in_python = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "on_top.py").write_text(in_a_file)
    cfg = Config.fromfile(tmp_path / "on_top.py")
    assert cfg.model.bbox_head.loss_bg.lambda_bg == 2.5
    assert cfg.custom_hooks[-1].type == "LossParamSchedulerHook"
    mine = stock(YOLOV8)
    monkeypatch.setattr(Config, "fromfile", lambda path: mine)
    namespace: dict = {}
    exec(in_python, namespace)
    cfg = namespace["cfg"]
    assert cfg.model.bbox_head.loss_cls.area_weight.gamma == 0.25
    assert cfg.model.bbox_head.loss_bg.mode == "focal"
    assert cfg.model.train_cfg.assigner.min_side == 16
