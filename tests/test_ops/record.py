"""What a compiled mmcv returns for every case of `cases.py`, in a small file.

    python -m tests.test_ops.record

Integers are kept as a checksum, tensors as their largest value and two projections:
little to store, and an error of one element shows in both.
"""

import zlib
from pathlib import Path

import numpy as np
import torch

from .cases import NUM_CASES, OPERATORS, Result

RECORD = Path(__file__).parents[1] / "data/mmcv_operators.npz"


def checksum(result: Result) -> int:
    return zlib.crc32(result.exact.numpy().astype(np.int64).tobytes())


def projections(result: Result) -> np.ndarray:
    """(tensors, 3): largest magnitude, and two weighted sums."""
    rows = []
    for tensor in result.close:
        values = tensor.double().flatten()
        place = torch.arange(len(values), dtype=torch.double)
        scale = max(len(values), 1) ** 0.5
        largest = values.abs().max() if len(values) else 0.0
        sums = [(values * (k * place).cos()).sum() / scale for k in (1.0, 2.3)]
        rows.append([float(x) for x in (largest, *sums)])
    return np.array(rows, np.float32).reshape(-1, 3)


def main() -> None:
    import mmcv._ext as compiled

    arrays = {}
    for name, run in OPERATORS.items():
        results = [run(compiled, seed) for seed in range(NUM_CASES)]
        arrays[f"{name}_exact"] = np.array([checksum(r) for r in results], np.uint32)
        arrays[f"{name}_close"] = np.stack([projections(r) for r in results])
    np.savez_compressed(RECORD, **arrays)
    print(f"{RECORD}: {RECORD.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
