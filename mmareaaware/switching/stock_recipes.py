"""Tries ``switch_on`` with every recipe of the installed MMDetection and MMYOLO."""

import importlib.util
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from ..model_config import parts
from ..preflight import config_findings, model_findings, settle
from .errors import SwitchError
from .switch import switch_on

LIBRARIES = ("mmyolo", "mmdet")
SWITCHES = dict(
    area_weight=dict(area_weight=True),
    bg_penalty=dict(bg_penalty=True),
    assigner=dict(assigner=True),
)
ON = "on"
STUBS = dict(
    backbone=dict(
        type="mmdet.ResNet",
        depth=18,
        num_stages=1,
        strides=(1,),
        dilations=(1,),
        out_indices=(0,),
        base_channels=4,
    ),
    neck=dict(type="mmdet.ChannelMapper", in_channels=[4], out_channels=4),
)


def recipes(library: str) -> list[Path]:
    """All configs that a library has installed, without those that others inherit."""
    spec = importlib.util.find_spec(library)
    folder = Path(spec.submodule_search_locations[0]) / ".mim/configs"
    return sorted(
        path
        for path in folder.rglob("*.py")
        if not any(part.startswith("_") for part in path.relative_to(folder).parts)
    )


class Trial:
    """Tries the switches, and builds no two heads that are alike."""

    def __init__(self) -> None:
        self._built: dict[str, None] = {}

    def __call__(self, cfg: Config) -> dict[str, str]:
        """What comes of each switch: ``'on'``, or why it is refused."""
        outcome = {}
        for name, asked in SWITCHES.items():
            copy = Config(cfg.to_dict())
            try:
                switch_on(copy, **asked)
            except SwitchError as error:
                outcome[name] = str(error)
            else:
                self._build(copy)
                outcome[name] = ON
        return outcome

    def _build(self, cfg: Config) -> None:
        scope = cfg.get("default_scope")
        model = _heads_only(cfg.model)
        key = json.dumps([scope, model], sort_keys=True, default=str)
        if key in self._built:
            return
        with DefaultScope.overwrite_default_scope(scope), torch.device("meta"):
            settle(config_findings(model))
            settle(model_findings(MODELS.build(model)))
        self._built[key] = None


def _heads_only(model: Mapping) -> dict:
    """With backbone and neck built in no time; the heads do not look at them.

    Of a tracker or a semi-supervised detector the detector alone.
    """
    model = model.get("detector", model)
    return {key: STUBS.get(key, value) for key, value in model.items()}


def heads_of(cfg: Config) -> str:
    """The types of the heads that find boxes."""
    found = parts(cfg.model, scope=cfg.get("default_scope"))
    names = [p.name for p in found if p.slot in ("bbox_head", "rpn_head") and p.name]
    return " + ".join(dict.fromkeys(names)) or cfg.model.type


def try_all(every: int = 1) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Try the recipes.

    Args:
        every: Only each of so many.

    Yields:
        Library, heads, and what came of each switch. Recipes that cannot be read here,
        since a package or a file is missing, and files without a model have no heads
        and one reason.
    """
    trial = Trial()
    for library in LIBRARIES:
        for path in islice(recipes(library), 0, None, every):
            try:
                cfg = Config.fromfile(path)
            except (ImportError, FileNotFoundError) as error:
                yield library, "", dict(read=type(error).__name__)
                continue
            if "model" not in cfg:
                yield library, "", dict(read="has no model")
            else:
                yield library, heads_of(cfg), trial(cfg)


def table(results: list[tuple[str, str, dict[str, str]]]) -> str:
    """The counts as Markdown."""
    counts: dict[tuple[str, str], Counter] = defaultdict(Counter)
    unread: Counter = Counter()
    for library, heads, outcome in results:
        if not heads:
            unread[library, outcome["read"]] += 1
            continue
        counts[library, heads]["recipes"] += 1
        counts[library, heads].update(k for k, value in outcome.items() if value == ON)
    lines = ["| library | heads | recipes | area weight | penalty | assigner |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: |"]
    total: Counter = Counter()
    others: Counter = Counter()
    for (library, heads), row in sorted(counts.items()):
        total.update(row)
        if any(row[name] for name in SWITCHES):
            numbers = " | ".join(str(row[key] or "–") for key in ("recipes", *SWITCHES))
            lines.append(f"| {library} | {heads} | {numbers} |")
        else:
            others[library, heads] = row["recipes"]
    numbers = " | ".join(str(total[key]) for key in ("recipes", *SWITCHES))
    lines += [f"| | {sum(others.values())} others, below | "]
    lines[-1] += f"{sum(others.values())} | – | – | – |"
    lines += [f"| | all | {numbers} |", "", "Refused, with the reason:", ""]
    lines += ["| reason | recipes |", "| --- | ---: |"]
    reasons = Counter(
        _general(outcome["area_weight"])
        for _, heads, outcome in results
        if heads and outcome["area_weight"] != ON
    )
    lines += [f"| {reason} | {n} |" for reason, n in reasons.most_common()]
    lines += ["", "Not tried:", ""]
    lines += [f"- {lib}: {n} × {reason}" for (lib, reason), n in sorted(unread.items())]
    return "\n".join([*lines, ""])


def _general(reason: str) -> str:
    """The reason of an area weight refused, without place and advice."""
    reason = re.sub(r"^model[\w.]*: ", "", reason)
    return re.split(r"\. (?:The|Those|Leave)|: (?:import|leave)", reason)[0]
