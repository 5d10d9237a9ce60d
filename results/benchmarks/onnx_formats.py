"""Accuracy, size and latency of a trained network in small number formats: `onnx_formats.csv`.

    python onnx_formats.py NAME BUNDLE DATA

NAME is what the table calls the network, whose rows are written anew; those of others stay.
Latency is that of one image by ONNX Runtime on one thread, in seconds of the processor, all formats
in turns.
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

from spach_nas.export.bundle import load_model, load_preprocessing
from spach_nas.export.formats import FORMS
from spach_nas.export.scored_images import named_settings, read_scored_images
from spach_nas.networks.onnx_graph import INPUT, OPSET, OUTPUT
from spach_nas.networks.onnx_number_formats import fp16_bytes, int8_bytes

ROUNDS = 100
# By what is computed in INT8. `Conv` holds the depthwise ones.
INT8 = {
    "int8: Gemm": ("Gemm",),
    "int8: Gemm, MatMul": ("Gemm", "MatMul"),
    "int8: Gemm, Conv": ("Gemm", "Conv"),
    "int8: Gemm, norms": ("Gemm", "LayerNormalization", "InstanceNormalization"),
    "int8: Gemm, Softmax": ("Gemm", "Softmax"),
    "int8: all of these": (
        *("Gemm", "MatMul", "Conv", "LayerNormalization", "InstanceNormalization", "Softmax"),
    ),
}


def session(data: bytes) -> onnxruntime.InferenceSession:
    """On one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def main(name: str, bundle: Path, data: str) -> None:
    """Make, score and time all formats, and write their rows."""
    network, preprocessing = load_model(bundle), load_preprocessing(bundle)
    images = read_scored_images(
        named_settings(data),
        preprocessing=preprocessing,
        architecture=network.architecture,
        source=str(bundle),
    )
    whole = FORMS["onnx"].make(network, OPSET, ())
    made = {"fp32": whole, "fp16": fp16_bytes(whole)}
    for form, operators in INT8.items():
        made[form] = int8_bytes(whole, images.calibration, operators=operators)
    sessions = {name: session(item) for name, item in made.items()}
    logits = {
        form: np.concatenate([item.run([OUTPUT], {INPUT: x.numpy()})[0] for x, _ in images.scored])
        for form, item in sessions.items()
    }
    labels = np.concatenate([labels.numpy() for _, labels in images.scored])
    feed = {INPUT: images.scored[0][0][:1].numpy()}
    times: dict[str, list[float]] = {form: [] for form in sessions}
    for _ in range(ROUNDS):
        for form, item in sessions.items():
            item.run([OUTPUT], feed)  # its weights are in the caches
            started = time.thread_time()
            item.run([OUTPUT], feed)
            times[form].append(time.thread_time() - started)
    rows = []
    for form, found in logits.items():
        same = (found.argmax(1) == logits["fp32"].argmax(1)).mean()
        top1, own = (found.argmax(1) == labels).mean(), np.array(times[form])
        ratio = np.median(own / np.array(times["fp32"]))
        shares = (f"{share:.4f}" for share in (top1, same))
        speed = (f"{1e3 * np.median(own):.3f}", f"{ratio:.3f}")
        rows.append([name, form, str(len(made[form]) // 1000), str(len(labels)), *shares, *speed])
    table = Path(__file__).with_suffix(".csv")
    head, *before = csv.reader(table.read_text(encoding="utf-8").splitlines())
    with table.open("w", newline="", encoding="utf-8") as file:
        others = (row for row in before if row[0] != name)
        csv.writer(file, lineterminator="\n").writerows([head, *others, *rows])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
