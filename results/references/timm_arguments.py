"""Which families of timm take arguments that would make a proxy: `timm_arguments.csv`.

    python timm_arguments.py

Of each family one model is built for images of 32 px: as it is or by `img_size=32`; with a quarter
of its widths, by each of the names that timm has for them; and with a patch of 2 px in addition. It
counts if it was built, has run and, where it was given widths, has at most half as many parameters.
"""

import csv
from pathlib import Path

import timm
import torch
from torch import nn

SIDE, SHARE = 32, 4
MODELS = (
    *("resnet50", "convnext_tiny", "caformer_s18", "vit_small_patch16_224", "regnety_040"),
    *("deit3_small_patch16_224", "swin_tiny_patch4_window7_224", "efficientnet_b0"),
    *("mobilenetv3_large_100", "mixer_b16_224", "resmlp_12_224", "gmlp_s16_224", "poolformer_s12"),
    *("coatnet_0_rw_224", "maxvit_tiny_tf_224", "xcit_small_12_p16_224", "twins_svt_small"),
    *("pvt_v2_b1", "densenet121", "efficientformer_l1"),
)


def attempt(name: str, **arguments: object) -> nn.Module | None:
    """A model that has run at 32 px, if it takes these arguments."""
    for size in ({}, {"img_size": SIDE}):
        try:
            model = timm.create_model(name, num_classes=10, in_chans=1, **arguments, **size).eval()
            with torch.no_grad():
                assert model(torch.zeros(2, 1, SIDE, SIDE)).shape == (2, 10)
        except Exception:  # timm's models refuse what they do not take in many ways
            continue
        return model
    return None


def parameters(model: nn.Module) -> int:
    """How many there are."""
    return sum(one.numel() for one in model.parameters())


def narrower(model: nn.Module) -> dict[str, object]:
    """A quarter of its widths, by each name that a family of timm has for them."""
    stages = getattr(model.feature_info, "info", model.feature_info)
    widths = tuple(stage["num_chs"] // SHARE for stage in stages[-4:])
    one = getattr(model, "embed_dim", None)
    one = one if isinstance(one, int) else stages[0]["num_chs"]
    names = ("channel_multiplier", "width_mult", "width_multiplier", "multiplier")
    factors = dict.fromkeys(names, 1 / SHARE)
    return {"dims": widths, "embed_dims": widths, "embed_dim": one // SHARE, **factors}


def main() -> None:
    """Try all, and write the table."""
    with Path(__file__).with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["model", "at_32_px", "width", "width_and_patch"])
        for name in MODELS:
            whole = timm.create_model(name, num_classes=10, in_chans=1)
            by, patched = [], []
            for word, width in narrower(whole).items():
                found = attempt(name, **{word: width})
                if found is not None and parameters(found) <= parameters(whole) / 2:
                    by.append(word)
                    patched += [word] if attempt(name, **{word: width}, patch_size=2) else []
            cells = (bool(attempt(name)), " ".join(by), " ".join(patched))
            writer.writerow([name, "yes" if cells[0] else "no", *cells[1:]])


if __name__ == "__main__":
    main()
