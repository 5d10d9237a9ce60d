"""The legal names for `--formats`, without torch, so that a misspelt one is reported at once."""

from spach_nas.errors import BundleError, did_you_mean, one_of

# The forms that have their own file of weights.
FORMATS = ("safetensors", "onnx", "pt2")
# The first with GELU as one operator, and the last that all of ONNX Runtime's tools support.
OPSET = 20
OPSETS = range(18, 24)  # from torch's default to the last one that was tried


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats in text such as `onnx,pt2` or `all`; `safetensors` is always included.

    Raises:
        BundleError: A name is unknown.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return FORMATS
    for name in names:
        if name not in FORMATS:
            raise BundleError(
                f"--formats: {name!r}; expected {one_of([*FORMATS, 'all'])}"
                f"{did_you_mean(name, FORMATS)}"
            )
    return tuple(name for name in FORMATS if name in {"safetensors", *names})
