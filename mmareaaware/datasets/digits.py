"""The demo data: handwritten digits of many sizes on photographs."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from ..whole_file import write_whole

IMAGE_SIZE = 256
MIN_SIDE, MODE_SIDE, MAX_SIDE = 6, 26, 96  # px, triangular in the logarithm
EMPTY_SHARE = 0.12  # images without any digit: where false alarms show best
DIGITS_PER_IMAGE = (8, 26)
CLASS_DECAY = 0.85  # each digit is that much rarer than the one before
NUM_IMAGES = dict(train=600, val=100)
# Other people's digits and other photographs in validation than in training.
PHOTOGRAPHS = dict(
    train=("china", "astronaut", "coffee", "rocket", "brick", "grass"),
    val=("flower", "chelsea", "gravel"),
)
TRAIN_DIGITS = 1400  # of the 1797 that scikit-learn has


def write_digits(
    root: str | Path,
    num_images: dict[str, int] = NUM_IMAGES,
    seed: int = 0,
    progress: Callable[[Iterable, str], Iterable] = lambda items, title: items,
) -> None:
    """Write the data set; the same arguments give the same files.

    Digits from ``sklearn.datasets.load_digits`` are scaled to a longer side of 6 to
    96 px, most of them small, and blended onto crops of photographs that come with
    scikit-learn and scikit-image. Lower digits are more frequent.

    Args:
        root: Folder to write ``{train,val}/`` and ``annotations/{train,val}.json`` to.
        num_images: Number of images of each split.
        seed: Seed of everything random.
        progress: Wraps the images of a split, to show progress.
    """
    root = Path(root)
    for split, number in num_images.items():
        (root / split).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, sorted(PHOTOGRAPHS).index(split)])
        glyphs = _load_glyphs(split)
        photographs = [_load_photograph(name) for name in PHOTOGRAPHS[split]]
        images, annotations = [], []
        for image_id in progress(range(number), f"digits {split}"):
            image = _crop(photographs[rng.integers(len(photographs))], rng)
            name = f"{image_id:04d}.jpg"
            for label, box in _place_digits(image, glyphs, rng):
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=image_id,
                        category_id=label,
                        bbox=box,
                        area=box[2] * box[3],
                        iscrowd=0,
                    )
                )
            cv2.imwrite(str(root / split / name), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
            images.append(
                dict(id=image_id, file_name=name, width=IMAGE_SIZE, height=IMAGE_SIZE)
            )
        content = dict(
            images=images,
            annotations=annotations,
            categories=[dict(id=i, name=str(i)) for i in range(10)],
        )
        write_whole(root / f"annotations/{split}.json", json.dumps(content))


def _load_glyphs(split: str) -> list[list[np.ndarray]]:
    """Opacity masks in [0, 1] of the digits of a split, cut to the strokes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    part = slice(TRAIN_DIGITS) if split == "train" else slice(TRAIN_DIGITS, None)
    glyphs = [[] for _ in range(10)]
    for image, label in zip(digits.images[part], digits.target[part], strict=True):
        rows, columns = (np.flatnonzero((image > 3).any(axis)) for axis in (1, 0))
        cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        glyphs[label].append((cut / 16).astype(np.float32))
    return glyphs


def _load_photograph(name: str) -> np.ndarray:
    """A photograph as (H, W, 3) uint8, BGR."""
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        image = load_sample_image(f"{name}.jpg")
    else:
        from skimage import data

        image = getattr(data, name)()
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    return np.ascontiguousarray(image[..., ::-1])


def _crop(photograph: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random square of a photograph at the image size, perhaps mirrored."""
    height, width = photograph.shape[:2]
    side = int(rng.integers(min(IMAGE_SIZE, height, width) // 2, min(height, width)))
    top = int(rng.integers(height - side + 1))
    left = int(rng.integers(width - side + 1))
    square = photograph[top : top + side, left : left + side]
    if rng.random() < 0.5:
        square = square[:, ::-1]
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return cv2.resize(np.ascontiguousarray(square), size, interpolation=cv2.INTER_AREA)


def _place_digits(
    image: np.ndarray, glyphs: list[list[np.ndarray]], rng: np.random.Generator
) -> list[tuple[int, list[int]]]:
    """Blend digits into the image; labels and boxes xywh of those that fit in."""
    if rng.random() < EMPTY_SHARE:
        return []
    frequency = CLASS_DECAY ** np.arange(10)
    placed, occupied = [], np.zeros(image.shape[:2], bool)
    for _ in range(rng.integers(*DIGITS_PER_IMAGE)):
        label = int(rng.choice(10, p=frequency / frequency.sum()))
        glyph = glyphs[label][rng.integers(len(glyphs[label]))]
        side = np.exp(rng.triangular(*np.log([MIN_SIDE, MODE_SIDE, MAX_SIDE])))
        scale = side / max(glyph.shape)
        width, height = (max(3, round(n * scale)) for n in glyph.shape[::-1])
        opacity = cv2.resize(glyph, (width, height), interpolation=cv2.INTER_LINEAR)
        x = int(rng.integers(image.shape[1] - width + 1))
        y = int(rng.integers(image.shape[0] - height + 1))
        window = slice(y, y + height), slice(x, x + width)
        if occupied[window].any():
            continue
        occupied[window] = True
        patch = image[window]
        # A light stroke on dark ground and the reverse, in a random tint.
        dark = patch.mean() > 127
        colour = rng.uniform(0, 70, 3) if dark else rng.uniform(185, 255, 3)
        opacity = (opacity * 1.4).clip(0, 1)[..., None]
        patch[:] = np.round(patch * (1 - opacity) + colour * opacity)
        placed.append((label, [x, y, width, height]))
    return placed
