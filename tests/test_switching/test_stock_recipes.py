"""Every so many of the recipes that MMYOLO and MMDetection bring."""

import pytest

from mmareaaware.switching import stock_recipes

NOT_READ = {"ImportError", "ModuleNotFoundError", "FileNotFoundError", "has no model"}


@pytest.fixture(scope="module")
def results():
    return list(stock_recipes.try_all(every=13))


def test_each_is_switched_on_or_refused_with_a_reason(results):
    assert len(results) == len(stock_recipes.recipes("mmyolo")[::13]) + len(
        stock_recipes.recipes("mmdet")[::13]
    )
    for _, heads, outcome in results:
        if not heads:
            assert outcome["read"] in NOT_READ
            continue
        for reason in outcome.values():
            assert reason == "on" or ("model" in reason and len(reason) > 40), reason


def test_what_goes_on_where(results):
    on = {
        name: {heads for _, heads, outcome in results if outcome.get(name) == "on"}
        for name in stock_recipes.SWITCHES
    }
    assert on["area_weight"] >= {"RPNHead + Shared2FCBBoxHead", "RetinaHead"}
    assert on["bg_penalty"] >= {"YOLOv8Head"}
    assert on["assigner"] <= {"YOLOv6Head", "YOLOv8Head", "PPYOLOEHead"}
    assert on["assigner"]


def test_a_head_that_cannot_be_built_is_seen(monkeypatch):
    def breaks(cfg, **asked):
        cfg.model.bbox_head.loss_cls = dict(type="BgPenaltyLoss")

    monkeypatch.setattr(stock_recipes, "switch_on", breaks)
    cfg = stock_recipes.Config.fromfile(
        next(p for p in stock_recipes.recipes("mmyolo") if "yolov8_n" in p.name)
    )
    with pytest.raises(ValueError, match="BgPenaltyLoss is no loss_cls"):
        stock_recipes.Trial()(cfg)


def test_the_table_counts_them(results):
    text = stock_recipes.table(results)
    read = [heads for _, heads, _ in results if heads]
    rows = dict.fromkeys(read)
    assert f"| all | {len(read)} | " in text
    for heads in rows:
        if heads == "YOLOv8Head":
            number = read.count(heads)
            assert f"| mmyolo | YOLOv8Head | {number} | {number} | {number} |" in text
