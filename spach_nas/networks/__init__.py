"""Networks of the SPACH framework in PyTorch. Importing this package registers them with timm."""

from spach_nas.networks.morphisms import Change, aligned, changes, morph
from spach_nas.networks.official_checkpoints import (
    load_official,
    official_state_dict,
    save_official,
)
from spach_nas.networks.resizing import resize
from spach_nas.networks.spach import Spach, build
from spach_nas.networks.timm_models import model_config, pretrained_cfg

__all__ = [
    "Change",
    "Spach",
    "aligned",
    "build",
    "changes",
    "load_official",
    "model_config",
    "morph",
    "official_state_dict",
    "pretrained_cfg",
    "resize",
    "save_official",
]
