"""A grid of settings × seeds over a base config, and the config file of each run."""

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config, ConfigDict

# What tools/train.py writes into the config that the runner keeps beside its logs.
KEYS_OF_THE_TOOL = ("work_dir", "launcher", "resume", "load_from")
TIMESTAMP = "%Y%m%d_%H%M%S"  # as MMEngine names the folder of a start
BETTER = ("higher", "lower")


@dataclass(frozen=True)
class Metric:
    """A column of the tables.

    Args:
        key: Name that the test reports, such as ``'coco/bbox_mAP'``.
        name: Header.
        better: ``'higher'`` or ``'lower'``.
        scale: Factor in tables and plots; 100 for average precision in points.

    Raises:
        ValueError: ``better`` is neither.
    """

    key: str
    name: str
    better: str = "higher"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.better not in BETTER:
            raise ValueError(
                f"better of metric {self.key!r} must be one of {BETTER}, got "
                f"{self.better!r}"
            )


class Grid:
    """Settings to compare, each trained from several seeds.

    Args:
        path: A config file with

            - ``base``: config that the settings inherit, relative to this file
            - ``seeds``: list of seeds
            - ``settings``: dict from name to what a config inheriting ``base`` would
              contain, so with ``_delete_=True`` where it replaces; besides,
              ``extra_hooks`` is appended to the base's ``custom_hooks``, and ``base``
              replaces the base of this setting
            - ``baseline``: the setting that the others are compared with
            - ``metrics``: list of dicts, see :class:`Metric`; the first is shown while
              the grid runs

    Raises:
        ValueError: Something of this is missing or does not fit.
        FileNotFoundError: A base does not exist.
    """

    def __init__(self, path: str | Path) -> None:
        cfg = Config.fromfile(path)
        self.path = Path(path)
        needed = ("base", "seeds", "settings", "baseline", "metrics")
        missing = [key for key in needed if not cfg.get(key)]
        if missing:
            raise ValueError(f"{path} needs {', '.join(needed)}; missing: {missing}")
        self.base = cfg.base
        self.seeds = list(cfg.seeds)
        self.baseline = cfg.baseline
        self.metrics = [Metric(**metric) for metric in cfg.metrics]
        self.settings = cfg.settings.to_dict()
        self.check_names([self.baseline])
        for name, setting in self.settings.items():
            if not re.fullmatch(r"[\w.-]+", name):
                raise ValueError(f"a setting's name is a folder's, got {name!r}")
            if "custom_hooks" in setting and "extra_hooks" in setting:
                raise ValueError(
                    f"setting {name!r} has custom_hooks, which replace the base's, and "
                    "extra_hooks, which are added to them: give one of the two"
                )
            if not self.base_of(name).is_file():
                raise FileNotFoundError(
                    f"base of setting {name!r}: {self.base_of(name)} does not exist"
                )

    def check_names(self, names: Sequence[str]) -> None:
        """See that the grid has these settings.

        Raises:
            ValueError: It has not.
        """
        unknown = [name for name in names if name not in self.settings]
        if unknown:
            raise ValueError(
                f"{self.path} has no setting {', '.join(map(repr, unknown))}; it has "
                f"{', '.join(self.settings)}"
            )

    def base_of(self, setting: str) -> Path:
        """The config that a setting inherits."""
        return self.path.parent / self.settings[setting].get("base", self.base)

    def config_text(self, setting: str, seed: int, folder: Path) -> str:
        """The config of a run.

        Args:
            setting: Name of the setting.
            seed: Of the run.
            folder: Where the config will be: the path of its base starts there.

        Returns:
            The text of a config file.
        """
        content = {k: v for k, v in self.settings[setting].items() if k != "base"}
        content["randomness"] = dict(content.get("randomness", {}), seed=seed)
        base = Path(os.path.relpath(self.base_of(setting), folder)).as_posix()
        text = (
            f"# Setting {setting!r} of {self.path.name}, seed {seed}; written by "
            f'tools/ablation.py\n_base_ = "{base}"\n\n{Config(content).pretty_text}'
        )
        if "extra_hooks" in content:
            text += 'custom_hooks = [*_base_.get("custom_hooks", []), *extra_hooks]\n'
        return text


@dataclass(frozen=True)
class Run:
    """One training: a setting from a seed, in a folder of its own."""

    grid: Grid
    setting: str
    seed: int
    out: Path

    @property
    def name(self) -> str:
        return f"{self.setting}/seed{self.seed}"

    @property
    def folder(self) -> Path:
        return self.out / self.name

    @property
    def config(self) -> Path:
        return self.folder / "config.py"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def metrics(self) -> Path:
        """Written last: a run that has it is finished."""
        return self.folder / "metrics.json"

    def write_config(self) -> None:
        """Write the config, or see that it is there as the grid has it now.

        Raises:
            ValueError: The one there is another.
        """
        text = self.grid.config_text(self.setting, self.seed, self.folder)
        if not self.config.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.config.write_text(text)
        elif self.config.read_text() != text:
            raise ValueError(self._refusal(f"{self.config} is not what it says now"))

    def check_trained(self, cfg: ConfigDict) -> None:
        """See that what was trained here so far is what would be trained now.

        Args:
            cfg: What the config of this run contains now, with all that it inherits.

        Raises:
            ValueError: It is something else.
        """
        trained = self.folder / "train/config.py"
        if not trained.exists():
            return
        then, now = _flatten(Config.fromfile(trained)), _flatten(cfg)
        for key in sorted(then.keys() | now.keys()):
            old, new = then.get(key), now.get(key)
            if old != new:
                raise ValueError(self._refusal(f"{key} was {old!r} and is {new!r}"))

    def finish(self, environment: dict) -> dict[str, float]:
        """Write ``metrics.json`` from the newest test.

        Args:
            environment: What to note about versions and device.

        Returns:
            The metrics.
        """
        newest = max(self.folder.glob("test/*/*.json"))
        metrics = {k: v for k, v in json.loads(newest.read_text()).items() if "/" in k}
        content = dict(
            metrics=metrics,
            train_seconds=round(self._train_seconds()),
            environment=environment,
        )
        partial = self.metrics.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=1))
        partial.replace(self.metrics)  # all of it or nothing, whenever it is killed
        return metrics

    def _train_seconds(self) -> float:
        """Wall time from the start to the last log line, of all starts together."""
        return sum(
            log.stat().st_mtime - time.mktime(time.strptime(log.stem, TIMESTAMP))
            for log in self.folder.glob("train/*/*.log")
        )

    def _refusal(self, reason: str) -> str:
        return (
            f"run {self.name} was started with another config than {self.grid.path} "
            f"and what it inherits give now: {reason}. Put the old one back, delete "
            f"{self.folder} to train it anew, or choose another --out"
        )


def _flatten(value, path: str = "") -> dict:
    """Leaves of a config by dotted path."""
    if isinstance(value, (Config, dict)):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return {path: value}
    result = {}
    for key, item in items:
        if path or key not in KEYS_OF_THE_TOOL:
            result |= _flatten(item, f"{path}.{key}" if path else str(key))
    return result


def plan(
    grid: Grid, out: Path, settings: Sequence[str], seeds: Sequence[int]
) -> Iterator[Run]:
    """The runs, seed by seed: a grid that is cut short has complete pairs."""
    return (Run(grid, setting, seed, out) for seed in seeds for setting in settings)
