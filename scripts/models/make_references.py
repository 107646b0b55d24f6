#!/usr/bin/env python3
"""Makes the references that the engines' tests compare against.

Takes frames out of real footage, runs the bundled model on them with ONNX Runtime, and decodes its outputs here, in
NumPy, on its own: nothing is shared with the Rust code but the model file and its manifest. The whole graph runs, its
last sigmoid included, while the engines under test stop before that.

    python3 -m venv .venv && .venv/bin/pip install -r scripts/models/requirements.txt
    .venv/bin/python scripts/models/make_references.py

Writes functions/detect/tests/data/references.json and one PNG a frame, scaled to the model's input.
"""

import json
import tomllib
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "models/efficientdet-lite0.toml"
FOOTAGE = ROOT / "samples/driveway.mov"
FRAMES = [240, 360, 420, 600, 660, 720, 1500]
DATA = ROOT / "functions/detect/tests/data"
# The whole graph's own outputs: scores after the sigmoid, and boxes.
SCORES, BOXES = "StatefulPartitionedCall:1", "StatefulPartitionedCall:0"


def frames(path, wanted):
    """Yields (index, BGR picture), frame by frame: seeking is not exact in every file."""
    video = cv2.VideoCapture(str(path))
    for index in range(max(wanted) + 1):
        ok, picture = video.read()
        if not ok:
            raise SystemExit(f"{path}: ends before frame {index}")
        if index in wanted:
            yield index, picture


def scaled(picture, size):
    """The picture as large as it fits into size x size, in whole pixels."""
    height, width = picture.shape[:2]
    factor = size / max(height, width)
    return cv2.resize(picture, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)


def model_input(picture, spec):
    """[1, height, width, 3] RGB, padded at the right and below."""
    width, height = spec["size"]
    padded = np.full((height, width, 3), spec["pad_value"], np.float32)
    padded[: picture.shape[0], : picture.shape[1]] = picture[:, :, ::-1]
    return ((padded - spec["mean"]) * spec["scale"])[None].astype(np.float32)


def anchors(spec, size):
    """[n, 4] as centre y, centre x, height, width."""
    found = []
    for level in range(spec["levels"][0], spec["levels"][1] + 1):
        stride = 2**level
        cells = -(-size // stride)
        shapes = []
        for octave in range(spec["octaves"]):
            side = spec["anchor_scale"] * stride * 2 ** (octave / spec["octaves"])
            for ratio in spec["ratios"]:
                shapes.append((side / np.sqrt(ratio), side * np.sqrt(ratio)))
        centres = (np.arange(cells) + 0.5) * stride
        cy, cx = np.meshgrid(centres, centres, indexing="ij")
        grid = np.stack([cy, cx], -1)[:, :, None, :].repeat(len(shapes), 2)
        sizes = np.broadcast_to(np.array(shapes), grid.shape)
        found.append(np.concatenate([grid, sizes], -1).reshape(-1, 4))
    return np.concatenate(found)


def decoded(boxes, base):
    """[n, 4] as left, top, right, bottom."""
    cy, cx = (boxes[:, i] * base[:, i + 2] + base[:, i] for i in (0, 1))
    h, w = (np.exp(boxes[:, i + 2].astype(np.float64)) * base[:, i + 2] for i in (0, 1))
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)


def overlap(box, others):
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    both = np.clip(sides, 0, None).prod(1)
    area = lambda b: (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    return both / (area(box) + area(others) - both)


def suppressed(boxes, scores, limit):
    """Indices of one class's survivors, best first."""
    order, kept = np.argsort(-scores, kind="stable"), []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[overlap(boxes[best], boxes[order]) <= limit]
    return kept


def detections(scores, boxes, labels, thresholds, width, height):
    found = []
    for index, label in enumerate(labels):
        above = np.flatnonzero(scores[:, index] >= thresholds["store"])
        if label is None or not len(above):
            continue
        for i in above[suppressed(boxes[above], scores[above, index], thresholds["iou"])]:
            left, top, right, bottom = boxes[i].clip(0, [width, height] * 2)
            found.append({
                "label": label,
                "score": round(float(scores[i, index]), 5),
                "box": [round(float(v), 3) for v in (left, top, right - left, bottom - top)],
            })
    return sorted(found, key=lambda d: -d["score"])


def main():
    manifest = tomllib.loads(MANIFEST.read_text())
    labels = json.loads((Path(__file__).parent / "coco-90.json").read_text())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(MANIFEST.parent / manifest["file"]), options, providers=["CPUExecutionProvider"]
    )
    base = anchors(manifest["output"], manifest["input"]["size"][0])
    DATA.mkdir(parents=True, exist_ok=True)
    references = []
    for index, picture in frames(FOOTAGE, FRAMES):
        small = scaled(picture, manifest["input"]["size"][0])
        name = f"driveway-{index:05}.png"
        cv2.imwrite(str(DATA / name), small, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        fed = {session.get_inputs()[0].name: model_input(small, manifest["input"])}
        scores, boxes = session.run([SCORES, BOXES], fed)
        found = detections(
            scores[0], decoded(boxes[0], base), labels, manifest["thresholds"], small.shape[1], small.shape[0]
        )
        references.append({"frame": name, "detections": found})
        print(name, [(d["label"], d["score"]) for d in found[:5]])
    made_by = {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__, "opencv": cv2.__version__}
    text = json.dumps({"model": manifest["name"], "made_by": made_by, "references": references}, indent=1)
    (DATA / "references.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
