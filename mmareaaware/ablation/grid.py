"""A grid of settings × seeds over a base config."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ..config_file import ConfigFileError, missing_in_words

KEYS = ("base", "seeds", "settings", "baseline", "metrics")
BETTER = ("higher", "lower")


@dataclass(frozen=True)
class Metric:
    """A column of the tables.

    Args:
        key: Name that the test reports, such as ``'coco/bbox_mAP'``.
        name: Header.
        better: ``'higher'`` or ``'lower'``.
        scale: Factor in tables and plots; 100 for average precision in points.
        goal: Whether a setting is asked for that is better in it.
        guard: By how much a setting may be worse in it on average, on the scale of the
            tables; None where it does not matter.

    Raises:
        ValueError: ``better`` is neither, or ``guard`` is negative.
    """

    key: str
    name: str
    better: str = "higher"
    scale: float = 1.0
    goal: bool = False
    guard: float | None = None

    def __post_init__(self) -> None:
        if self.guard is not None and not self.guard >= 0:
            raise ValueError(
                f"guard of metric {self.key!r} must not be negative, got {self.guard}"
            )
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
              ``extra_hooks`` are appended to the base's ``custom_hooks``, ``base`` is
              the base of this setting alone, ``switch_on`` are the arguments of
              ``mmareaaware.switch_on`` for it, and ``tests`` is the setting whose
              networks it tests in another way, so that it trains nothing
            - ``baseline``: the setting that the others are compared with
            - ``metrics``: list of dicts, see ``Metric``; the first is shown while
              the grid runs
            - ``caption``, if any: a sentence above the tables
            - ``seed_variable``, if any: an environment variable that is the seed
              wherever the config of a run is read, so that what a base makes of it, a
              fold of the data, follows the seed
            - ``based_on``, if not ``base``: the config that the answer inherits

    Raises:
        ValueError: Something of this is missing or does not fit.
        FileNotFoundError: A base does not exist.
    """

    def __init__(self, path: str | Path) -> None:
        cfg = Config.fromfile(path)
        self.path = Path(path)
        missing = [key for key in KEYS if not cfg.get(key)]
        if missing:
            raise ValueError(f"{path} needs {', '.join(KEYS)}; missing: {missing}")
        self.base = cfg.base
        self.based_on = cfg.get("based_on")
        self.caption = cfg.get("caption")
        self.seed_variable = cfg.get("seed_variable")
        self.seeds = list(cfg.seeds)
        self.baseline = cfg.baseline
        self.metrics = [Metric(**metric) for metric in cfg.metrics]
        self.settings = cfg.settings.to_dict()
        self.check_names([self.baseline])
        for name, setting in self.settings.items():
            if not re.fullmatch(r"[\w.-]+", name):
                raise ValueError(
                    f"the name of a setting must do as that of a folder, got {name!r}"
                )
            if "custom_hooks" in setting and "extra_hooks" in setting:
                raise ValueError(
                    f"setting {name!r} has custom_hooks, which replace the base's, and "
                    "extra_hooks, which are added to them: give one of the two"
                )
            tested = self.trained_as(name)
            self.check_names([tested])
            if self.trained_as(tested) != tested:
                raise ValueError(
                    f"setting {name!r} tests the networks of {tested!r}, which has "
                    f"none of its own: write tests={self.trained_as(tested)!r}"
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

    def trained_as(self, setting: str) -> str:
        """The setting whose networks a setting tests, most often itself."""
        return self.settings[setting].get("tests", setting)

    def base_of(self, setting: str) -> Path:
        """The config that a setting inherits."""
        return self.path.parent / self.settings[setting].get("base", self.base)

    def variables(self, seed: int | None) -> dict[str, str]:
        """The environment variables that the config of a run depends on.

        Args:
            seed: Of the run; None for no run.
        """
        if self.seed_variable is None or seed is None:
            return {}
        return {self.seed_variable: str(seed)}

    def config_text(
        self, setting: str, seed: int | None = None, folder: Path | None = None
    ) -> str:
        """The config of a run, or that of the setting alone.

        Args:
            setting: Name of the setting.
            seed: Of the run; None for the config that is the answer of the grid.
            folder: Where the config will be: the path of its base starts there. None
                for an absolute path.

        Returns:
            The text of a config file.
        """
        apart = ("base", "switch_on", "tests")
        content = {k: v for k, v in self.settings[setting].items() if k not in apart}
        if seed is not None:
            content["randomness"] = dict(content.get("randomness", {}), seed=seed)
        base = self.base_of(setting)
        if seed is None and self.based_on is not None:
            base = self.path.parent / self.based_on
        base = base.resolve()
        if folder is not None:
            base = Path(os.path.relpath(base, folder.resolve()))
        of_seed = "" if seed is None else f", seed {seed}"
        of_seed += "".join(f", {k}={v}" for k, v in self.variables(seed).items())
        text = (
            f"# Setting {setting!r} of {self.path.name}{of_seed}; written by "
            f'tools/ablation.py\n_base_ = "{base.as_posix()}"\n'
        )
        asked = self.settings[setting].get("switch_on")
        if asked:
            arguments = ", ".join(f"{key}={value!r}" for key, value in asked.items())
            text += "from mmareaaware import switch_on\n\n"
            text += f"switch_on(_base_, {arguments})\n"
        text += f"\n{Config(content).pretty_text}" if content else ""
        if "extra_hooks" in content:
            text += 'custom_hooks = [*_base_.get("custom_hooks", []), *extra_hooks]\n'
        return text

    def load(self, setting: str, seed: int) -> Config:
        """The config of a run with all that it inherits.

        Raises:
            ValueError: The setting does not fit its base, or the base reads a file that
                does not exist.
        """
        try:
            with environment_with(self.variables(seed)):
                return Config.fromstring(self.config_text(setting, seed), ".py")
        except TypeError as error:  # a dict over something that is none
            raise ValueError(f"setting {setting!r}: {error}") from error
        except FileNotFoundError as error:
            raise ConfigFileError(
                f"setting {setting!r}: {missing_in_words(error)}"
            ) from error


@contextmanager
def environment_with(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and put back what was there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
