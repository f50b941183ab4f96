"""Where recipes and tools of this package are, in a checkout and in a wheel."""

from difflib import get_close_matches
from pathlib import Path

RECIPES = Path(__file__).parent / ".mim/configs"
TOOLS = RECIPES.with_name("tools")


def recipe(name: str) -> str:
    """The file of a recipe, for ``_base_`` of a config in any folder.

    A config inherits from an installed package with one line, which MMEngine evaluates
    before any import of the config::

        _base_ = __import__("mmareaaware").recipe(
            "yolov8/yolov8_s_bg-max_8xb16-500e_coco.py"
        )

    MMEngine's own ``package::file`` knows OpenMMLab's packages alone, and marks what it
    inherits with a scope, in which types of MMYOLO would not be found.

    Args:
        name: As in ``configs/`` of this project: folder and file.

    Returns:
        The path, absolute.

    Raises:
        FileNotFoundError: There is no such recipe; the message has the names near it.

    Examples:
        >>> from mmengine.config import Config
        >>> cfg = Config.fromfile(recipe("_base_/area_aware.py"))
        >>> cfg.bg_max.bbox_head.loss_bg.mode
        'max'
    """
    path = RECIPES / name
    if path.is_file():
        return str(path.resolve())
    names = [p.relative_to(RECIPES).as_posix() for p in sorted(RECIPES.rglob("*.py"))]
    near = get_close_matches(name, names, n=3, cutoff=0.3)
    raise FileNotFoundError(
        f"mmareaaware has no recipe {name!r}. "
        + (f"Near it: {', '.join(near)}" if near else f"None is in {RECIPES}")
    )
