"""Words that users of timm, Ray, Optuna, Lightning and others type, and our words for them.

They serve only as hints in error messages: no foreign word is ever accepted in place of ours.
"""

from collections.abc import Iterable

_FLOPS = "MACs; FLOPs = 2 x MACs"
# Our word, then foreign words for it, the likeliest first. A dotted word of ours is a key within a
# section. A foreign word may belong to several of ours: the first that is legal at its place wins.
SYNONYMS = {
    # Keys of a search and of a recipe.
    "accumulation": "grad_accum_steps accumulate_grad_batches gradient_accumulation_steps",
    "augmentation": "aug augs augmentations transforms",
    "batch_size": "bs batch batchsize train_batch_size b",
    "callbacks": "callback logger loggers",
    "checkpoint_steps": "save_steps save_every checkpoint_frequency",
    "clip_norm": "clip_grad grad_clip gradient_clip_val max_grad_norm clip_grad_norm",
    "color_jitter": "jitter",
    "compile": "torchcompile torch_compile",
    "cpus_per_trial": "cpus num_cpus n_cpus cpu cpus_per_worker cpu_per_trial",
    "cpus_per_worker": "cpus num_cpus n_cpus cpu cpus_per_trial",
    "crop_scale": "scale",
    "crop_share": "crop_pct",
    "data": "dataset datasets",
    "data.name": "dataset data_name",
    "depth": "depths num_layers layers blocks num_blocks n_layers",
    "device": "accelerator",
    "drop_path": "drop_path_rate droppath stochastic_depth",
    "drop_path_rate": "drop_path droppath stochastic_depth",
    "ema.decay": "model_ema ema_decay model_ema_decay",
    "epochs": "epoch num_epochs n_epochs max_epochs total_epochs num_train_epochs",
    "erasing": "reprob random_erasing random_erase",
    "evaluation": "eval",
    "expansion_ratio": "mlp_ratio ffn_ratio expand_ratio expansion",
    "flip": "hflip horizontal_flip fliplr",
    "gpus_per_trial": "gpus num_gpus n_gpus gpu devices gpus_per_worker gpu_per_trial",
    "gpus_per_worker": "gpus num_gpus n_gpus gpu devices gpus_per_trial",
    "heads": "num_heads n_heads nhead",
    "image_size": "img_size imgsz input_size resolution size image_res img image_resolution",
    "in_channels": "in_chans channels input_channels num_channels",
    "label_smoothing": "smoothing label_smooth",
    "learning_rate": "lr max_lr base_lr learningrate init_lr lr0",
    "limits": "constraints constraint limit bounds",
    "loader_processes": "num_workers workers dataloader_workers j",
    "loggers": "logger callbacks callback",
    "max_activations": "activations max_acts",
    "max_concurrent": "max_concurrent_trials n_jobs jobs num_workers workers concurrency j",
    "max_duration": "timeout time_budget_s time_budget max_time time_limit max_runtime duration",
    "max_failures": "retries max_retries",
    "max_latency": "latency latency_ms max_latency_ms max_inference_time",
    "max_params": "params parameters max_parameters max_param num_params n_params max_num_params",
    "memory_per_trial": "memory mem ram",
    "min_params": "min_parameters min_param",
    "mixers": "ops operations operators op block_types mixer choices",
    "mixup": "mixup_alpha",
    "cutmix": "cutmix_alpha",
    "normalisation": "normalization normalize norm mean_std",
    "num_classes": "classes n_classes nb_classes number_of_classes",
    "objectives": "objective metric metrics goals goal directions",
    "optimizer": "opt optim optimiser",
    "optimizer.name": "opt optim optimiser optimizer_name",
    "precision": "amp dtype mixed_precision fp16 amp_dtype",
    "rand_augment": "aa auto_augment randaugment rand_aug autoaugment",
    "reduction": "reduction_factor eta",
    "references": "reference baselines baseline models",
    "repeats": "aug_repeats repeated_aug",
    "resources": "resources_per_trial resource",
    "root": "data_dir data_path dataset_path path folder dir data_root dataroot",
    "sampler": "search_alg algo algorithm search_algorithm searcher strategy alg",
    "sampler_options": "sampler_kwargs sampler_args sampler_params",
    "schedule": "sched scheduler lr_scheduler",
    "schedule.final": "min_lr lr_min eta_min",
    "schedule.warmup_epochs": "warmup warmup_share warm_up",
    "schedule.warmup_from": "warmup_lr",
    "search": "tuner tune tune_config",
    "seed": "random_state random_seed rng_seed",
    "skip_broken": "skip_bad ignore_errors skip_errors",
    "space": "search_space param_space config_space",
    "startup_trials": "n_startup_trials num_initial n_initial_points warmup_trials",
    "study": "name experiment experiment_name study_name run_name project",
    "sync_batch_norm": "sync_bn syncbn",
    "training": "train trainer protocol",
    "trials": "num_samples n_trials num_trials max_trials n_samples budget iterations n_iter",
    "validation": "val val_split val_share validation_split val_ratio holdout valid",
    "warm_start": "warmstart initial_study points_to_evaluate",
    "warmup_share": "warmup warmup_ratio warmup_epochs warmup_steps warm_up",
    "weight_decay": "wd decay l2",
    "width": "widths embed_dim hidden_dim dim dims channels embed_dims",
    # Objectives and bounds.
    "accuracy": "acc top1 top_1 acc1 acc_1 val_acc val_accuracy accuracy_top1 valid_acc",
    "latency": "latency_ms time inference_time runtime speed",
    "loss": "val_loss eval_loss valid_loss validation_loss",
    "macs": "flops gflops flop mac madds mult_adds multiply_adds gmacs",
    "max_macs": "max_flops max_gflops flops macs max_mac max_madds max_gmacs max_flop",
    "min_macs": "min_flops min_gflops",
    "params": "parameters num_params n_params param size model_size",
    "max": "maximize maximise maximum higher",
    "min": "minimize minimise minimum lower",
    # Values.
    "adamw": "adam",
    "attention": "attn self_attention mhsa msa mha transformer sa",
    "bf16": "bfloat16 bf16_mixed fp16 float16 16_mixed half amp",
    "conv": "convolution conv2d depthwise dwconv dw_conv",
    "cuda": "gpu cuda_0 nvidia",
    "evolution": "ea genetic evolutionary regularized_evolution regularised_evolution",
    "fashion-mnist": "fashion_mnist fashionmnist torch_fashion_mnist fmnist",
    "folder": "imagefolder image_folder torch_image_folder",
    "fp32": "float32 float 32 32_true full",
    "gp": "gaussian_process bayesian bayes bo botorch",
    "mlp": "token_mlp mlp_mixer tokenmlp fc",
    "nsga2": "nsga_ii nsgaii nsga nsgaiisampler",
    "pt2": "pytorch torch pt torch_export exported",
    "random": "random_search uniform randomsampler",
    "tpe": "hyperopt optuna tpesampler",
}
_NOTES = {"macs": _FLOPS, "max_macs": _FLOPS, "min_macs": _FLOPS}
_MEANT: dict[str, list[str]] = {}
for _ours, _words in SYNONYMS.items():
    for _word in _words.split():
        _MEANT.setdefault(_word, []).append(_ours)


def ours_for(word: str) -> tuple[str, ...]:
    """Our names for a foreign word, the likeliest first. A dotted name is a key in a section."""
    plain = "".join(char if char.isalnum() else "_" for char in word.strip("-").lower())
    return tuple(_MEANT.get(plain, ()))


def meant(word: str, legal: Iterable[str]) -> str | None:
    """The legal name that a foreign word stands for, if any."""
    names = set(legal)
    return next((name for name in ours_for(word) if name in names), None)


def note(word: str, name: str) -> str:
    """What users of `word` should know about our `name`; empty if the meaning is the same."""
    return _NOTES.get(name, "") if "flop" in word.lower() else ""
