"""One training of a grid: its folder, and what may be in there already."""

import inspect
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from ..whole_file import write_whole
from .grid import Grid

# What a training follows from; the other variables of a config are read by no one.
# (Those that are taken off are written by tools/train.py and tools/test.py.)
TRAINING_KEYS = {"custom_imports", *inspect.signature(Runner).parameters}
TRAINING_KEYS -= {"work_dir", "launcher", "resume", "load_from", "visualizer"}
# What may change after a training, which is then tested again.
EVALUATION = ("val_", "test_", "model.test_cfg.")
TIMESTAMP = "%Y%m%d_%H%M%S"  # MMEngine names the folder of each start like this


@dataclass(frozen=True)
class Run:
    """A setting from a seed, in a folder of its own.

    Args:
        grid: The grid.
        setting: Name of the setting.
        seed: The seed.
        out: Folder of all runs of the grid.
    """

    grid: Grid
    setting: str
    seed: int
    out: Path

    @property
    def name(self) -> str:
        """``SETTING/seedN``, also its folder below ``out``."""
        return f"{self.setting}/seed{self.seed}"

    @property
    def trained(self) -> "Run":
        """The run whose network this one tests, most often itself."""
        return replace(self, setting=self.grid.trained_as(self.setting))

    @property
    def folder(self) -> Path:
        """Where it trains and leaves its files."""
        return self.out / self.name

    @property
    def config(self) -> Path:
        """The config that it trains."""
        return self.folder / "config.py"

    @property
    def start(self) -> str | None:
        """The checkpoint that its config starts from."""
        return Config.fromfile(self.config).get("load_from")

    @property
    def log(self) -> Path:
        """What the training printed."""
        return self.folder / "log.txt"

    @property
    def metrics(self) -> Path:
        """Written last: a run that has it is finished."""
        return self.folder / "metrics.json"

    def prepare(self, cfg: Config) -> None:
        """Write the config, unless something else was trained here.

        Where the evaluation alone has changed since, a finished run is no longer
        finished, so that it is tested again.

        Args:
            cfg: What this run's config contains now, with all that it inherits.

        Raises:
            ValueError: Something else was trained here.
        """
        started = self.folder / "train/config.py"
        differences = list(_differences(started, cfg))
        start = cfg.get("load_from")
        if started.exists() and self.start != start:
            differences.append(("load_from", self.start, start))
        for key, old, new in differences:
            if not key.startswith(EVALUATION):
                raise ValueError(
                    f"run {self.name} was started with {key}={old!r}, and now it is "
                    f"{new!r}. Put the old value back, delete {self.folder} to train "
                    "it anew, or choose another --out"
                )
        if any(_differences(self.folder / "test/config.py", cfg)):
            self.metrics.unlink(missing_ok=True)
        text = self.grid.config_text(self.setting, self.seed, self.folder)
        if start:  # which an environment variable may have named
            text += f"load_from = {start!r}\n"
        write_whole(self.config, text)

    def finish(self, environment: dict) -> dict:
        """Write ``metrics.json`` from the newest test.

        Args:
            environment: What to note about versions and device.

        Returns:
            The content: metrics (None for what is not in the data), seconds of the
            training, environment.
        """
        newest = max(self.folder.glob("test/*/*.json"))
        reported = json.loads(newest.read_text())
        metrics = {k: _or_none(k, v) for k, v in reported.items() if "/" in k}
        if self.start:
            environment = environment | dict(load_from=Path(self.start).name)
        content = dict(
            metrics=metrics,
            train_seconds=round(self._train_seconds()),
            environment=environment,
        )
        write_whole(self.metrics, json.dumps(content, indent=1))
        return content

    def _train_seconds(self) -> float:
        """Wall time from the start to the last log line, of all starts together."""
        return sum(
            log.stat().st_mtime - time.mktime(time.strptime(log.stem, TIMESTAMP))
            for log in self.folder.glob("train/*/*.log")
        )


def _or_none(key: str, value: float) -> float | None:
    """None where there is no such thing in the data: nan, or -1 as pycocotools says."""
    is_of_coco = key.rpartition("/")[2].startswith(("bbox_", "segm_"))
    is_missing = value != value or (is_of_coco and value == -1)
    return None if is_missing else value


def _differences(path: Path, cfg: Config) -> Iterator[tuple[str, object, object]]:
    """Where a config that a runner has kept, if there is one, differs from another.

    Returns:
        Dotted key, its value in the file and in ``cfg``; None where there is none.
    """
    if not path.exists():
        return
    old, new = (
        _flatten({k: v for k, v in c.to_dict().items() if k in TRAINING_KEYS})
        for c in (Config.fromfile(path), cfg)
    )
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield key, old.get(key), new.get(key)


def _flatten(value, path: str = "") -> dict:
    """Leaves by dotted path."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return {path: value}
    result = {}
    for key, item in items:
        result |= _flatten(item, f"{path}.{key}" if path else str(key))
    return result
