# %% [markdown]
# # Tutorial
#
# From a folder of images to: these objects are small for this network, this setting
# helps, and here are its false alarms. This page is a notebook,
# [tutorial.ipynb](tutorial.ipynb), that ran: what you see is what it printed, in about
# ten minutes on two cores. It runs in a checkout with
# [everything set up](../install.md) and its environment activated.

# %%
import json
import os
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import Image, Markdown
from PIL import Image as Pixels

from mmareaaware.evaluation import KINDS
from mmareaaware.visualization import COLOURS, draw_box, show_image

here = Path.cwd()
os.chdir(next(p for p in (here, *here.parents) if (p / "tools").is_dir()))
os.environ |= dict(PYTHONWARNINGS="ignore", FORCE_COLOR="")  # text without colours


def picture(file) -> Image:
    """A picture, small enough for a page."""
    Pixels.open(file).convert("RGB").save(jpeg := BytesIO(), "JPEG", quality=60)
    return Image(jpeg.getvalue(), format="jpeg")


def table(title: str, rows: dict[str, str], *columns: dict) -> Markdown:
    """Metrics by their names, a column for each training."""
    lines = [f"| {title} | without | with the penalty |", "| --- | ---: | ---: |"]
    for key, name in rows.items():
        cells = " | ".join(f"{column[key]:.3f}" for column in columns)
        lines.append(f"| {name} | {cells} |")
    return Markdown("\n".join(lines))


# %% [markdown]
# ## A folder of images
#
# Handwritten digits of 6 to 96 px on photographs: `train/`, `val/`, and
# `annotations/{train,val}.json` in COCO format.

# %% language="bash"
# test -f data/digits/annotations/val.json ||
#     python tools/dataset_converters/make_digits.py

# %%
data = Path("data/digits")
labels = json.loads((data / "annotations/val.json").read_text())
figure, axes = plt.subplots(1, 3, figsize=(8, 2.7), layout="constrained")
for axis, image in zip(axes, labels["images"][:3], strict=True):
    show_image(axis, plt.imread(data / "val" / image["file_name"]))
    for box in labels["annotations"]:
        if box["image_id"] == image["id"]:
            x, y, width, height = box["bbox"]
            draw_box(axis, (x, y, x + width, y + height), COLOURS["sky_blue"])
plt.close(figure)
figure.savefig(file := BytesIO(), dpi=100)
picture(file)

# %% [markdown]
# **Your own folder** takes their place: `export DATA_ROOT=path/to/data`, and one of
# the recipes for [any COCO folder](../recipes.md) in place of the two
# below. [Labels in YOLO's text format](../index.md#your-own-data) become COCO's beside
# them:
#
# ```bash
# python tools/dataset_converters/yolo2coco.py path/to/data/data.yaml
# export DATA_ROOT=path/to/data TRAIN_IMAGES=. VAL_IMAGES=.
# ```
#
# ## How small are the objects for the network?
#
# Asked before any training, with the config that is to be trained: its pipeline and its
# priors count, not the size in the file.

# %% language="bash"
# python tools/analysis/area_report.py \
#     configs/demo/yolov8_n_baseline_1xb4-6e_digits.py --out work_dirs/tutorial/sizes

# %%
picture("work_dirs/tutorial/sizes/area_report.png")

# %% [markdown]
# The first table says it: a small object has few places of the finest level inside it,
# some have none at all, and nothing learns to find these. The
# suggestions are what one may try; on other data it is measured
# [what they did](../choose.md).
#
# ## Train without and with the penalty
#
# The stock loss for six epochs; then the last two of them again, with the penalty on
# confident background. On any other config `--bg-penalty`
# [switches it on](../switch_on.md).

# %% language="bash"
# python tools/train.py configs/demo/yolov8_n_baseline_1xb4-6e_digits.py \
#     --work-dir work_dirs/tutorial/without > work_dirs/tutorial/without.log

# %% language="bash"
# python tools/train.py configs/demo/yolov8_n_bg-max_1xb4-6e_digits.py \
#     --work-dir work_dirs/tutorial/with \
#     --resume work_dirs/tutorial/without/epoch_4.pth > work_dirs/tutorial/with.log


# %% [markdown]
# Both validate after their last epoch. By the size of the objects:


# %%
def validation(work_dir: str) -> dict:
    """The metrics of the newest training in a work dir."""
    log = max(Path(work_dir).glob("*/vis_data/scalars.json"))
    lines = map(json.loads, log.read_text().splitlines())
    return [line for line in lines if "coco/bbox_mAP" in line][-1]


without, with_penalty = map(
    validation, ("work_dirs/tutorial/without", "work_dirs/tutorial/with")
)
sizes = {
    "coco/bbox_mAP": "AP",
    "coco/bbox_mAP_s": "AP small (< 32² px)",
    "coco/bbox_mAP_m": "AP medium",
    "coco/bbox_AR_s": "AR small",
    "coco/bbox_AR_m": "AR medium",
}
table("accuracy", sizes, without, with_penalty)

# %% [markdown]
# False alarms an image by their [kind](../metrics.md), at the score that finds half of
# the objects: at equal score, a network that gives lower scores to everything has fewer
# of them and finds less.

# %%
of_kind = dict(
    bg="on background",
    loc="in a wrong place",
    cls="of a wrong class",
    both="of a wrong class in a wrong place",
    dup="a second one of an object",
)
kinds = {
    f"background/{kind}_fp_per_image_recall0.5": of_kind[kind]
    for kind in sorted(KINDS, key=list(of_kind).index)
}
best = {"background/best_f1": "best F1, over all scores"}
table("false alarms an image", kinds | best, without, with_penalty)

# %% [markdown]
# This is one seed of a short training, which is no result: another seed moves these
# numbers, too. What three seeds gave on real data is in [results](../results.md).
#
# ## Look at the false alarms
#
# The validation images with the most false alarms on background of the first training,
# and the same images after the second:

# %% language="bash"
# python tools/demo_report.py work_dirs/tutorial/without work_dirs/tutorial/with

# %%
picture("work_dirs/tutorial/with/report/without_and_with.png")

# %% [markdown]
# Of any config and checkpoint, image by image, the worst first:
#
# ```bash
# python tools/browse_predictions.py CONFIG CHECKPOINT --out work_dirs/browse
# ```
#
# ## Does it help, or was it the seed?
#
# One command trains what can be switched on in your config, from several seeds each:
#
# ```bash
# python tools/ablation.py --config CONFIG --checkpoint CHECKPOINT --out work_dirs/mine
# ```
#
# It takes hours, and ends with [an answer](../ablation.md). So it looks, for the
# penalty in two strengths on HIT-UAV, from
# [the record](../results/hit_uav_lambda.json) of nine trainings:

# %%
from mmareaaware.ablation import Metric, find_answer
from mmareaaware.ablation.wording import answer_in_words

runs = json.loads(Path("docs/results/hit_uav_lambda.json").read_text())["runs"]
metrics = [
    Metric("coco/bbox_mAP", "AP", scale=100, guard=0.5),
    Metric(
        "background/bg_fp_per_image_recall0.5",
        "background FP / image at recall 0.5",
        better="lower",
        goal=True,
    ),
]
answer = find_answer(runs, metrics, "baseline")
Markdown("\n".join(answer_in_words(answer, "baseline")))

# %% [markdown]
# ## What next
#
# - [Choose](../choose.md): what to switch on, by what your data is like.
# - [Switch it on](../switch_on.md) in your config.
# - [Troubleshooting](../troubleshooting.md), when something looks wrong.
