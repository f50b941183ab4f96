"""What mim reads of the recipes: ``python -m tests.metafiles`` writes it.

``model-index.yml`` and a ``metafile.yml`` in each folder of recipes: names, data, and
of a recipe that a record in docs/results has trained its metrics, means of the seeds.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import yaml

from mmareaaware.ablation import Grid

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "model-index.yml"
# By the last part of a recipe's name
TRAINING_DATA = {
    "coco": "COCO",
    "coco-full": "COCO",
    "coco-semi": "COCO",
    "coco-folder": "any in COCO format",
    "digits": "digits",
    "visdrone": "VisDrone2019-DET",
}
# By the data_root of a record; docs/results.md says what they are
DATA_SETS = {
    "bccd": "BCCD",
    "deeppcb": "DeepPCB, half size",
    "digits": "digits",
    "hit_uav": "HIT-UAV, every fourth frame",
    "hrplanes": "HRPlanesV2, half size",
}


def folders() -> list[Path]:
    """Those with recipes."""
    found = (ROOT / "configs").iterdir()
    return sorted(f for f in found if f.is_dir() and not f.name.startswith("_"))


def index() -> dict:
    """The content of ``model-index.yml``."""
    return dict(Import=[f"configs/{folder.name}/metafile.yml" for folder in folders()])


def metafile(folder: Path) -> dict:
    """The content of the file in a folder."""
    name = (folder / "README.md").read_text().splitlines()[0].removeprefix("# ")
    readme = f"configs/{folder.name}/README.md"
    recipes = sorted(folder.rglob("*.py"), key=lambda path: path.stem)
    return dict(
        Collections=[dict(Name=name, README=readme)],
        Models=[_model(recipe, name) for recipe in recipes],
    )


def _model(recipe: Path, collection: str) -> dict:
    config = recipe.relative_to(ROOT).as_posix()
    model = {
        "Name": recipe.stem,
        "In Collection": collection,
        "Config": config,
        "Metadata": {"Training Data": TRAINING_DATA[recipe.stem.rpartition("_")[2]]},
    }
    results = list(_results(config))
    return model | (dict(Results=results) if results else {})


def _results(config: str) -> Iterator[dict]:
    """Of a data set that several records have, those of the one with the most runs."""
    found: dict[str, tuple[list, dict]] = {}
    for path in sorted((ROOT / "docs/results").glob("*.json")):
        record = json.loads(path.read_text())
        if record.get("base") != config or _begins_elsewhere(record):
            continue
        runs = [r for r in record["runs"] if r["setting"] == record["baseline"]]
        data = DATA_SETS[record["environments"][0]["data_root"]]
        if data not in found or len(runs) > len(found[data][0]):
            found[data] = runs, record
    for data, (runs, record) in sorted(found.items()):
        metrics = dict(_means(runs, record["metrics"]))
        yield dict(Task="Object Detection", Dataset=data, Metrics=metrics)


def _begins_elsewhere(record: dict) -> bool:
    """Whether its baseline is another recipe than the other settings change."""
    settings = Grid(ROOT / record["grid"]).settings
    return "base" in settings[record["baseline"]]


def _means(runs: list[dict], metrics: list[dict]) -> Iterator[tuple[str, float]]:
    for metric in metrics:
        values = [run["metrics"].get(metric["key"]) for run in runs]
        if None not in values:  # else there is no such object in the data
            # OpenMMLab's metafiles say "box AP"
            name = metric["name"]
            name = f"box {name}" if metric["key"].startswith("coco/bbox") else name
            yield name, round(metric["scale"] * mean(values), 2)


def write() -> None:
    """All of them, where they belong."""
    _dump(index(), INDEX)
    for folder in folders():
        _dump(metafile(folder), folder / "metafile.yml")


def _dump(content: dict, path: Path) -> None:
    path.write_text(
        yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=88)
    )


if __name__ == "__main__":
    write()
