"""The examples in the `--help` of each command: one or two lines to copy."""

EXAMPLES = {
    "search": (
        "spach-nas search quickstart",
        "spach-nas search my.yaml --out results/first --dry-run",
    ),
    "watch": ("spach-nas watch results/quickstart",),
    "report": (
        "spach-nas report results/quickstart",
        "spach-nas report results/a results/b --out comparison.html",
    ),
    "export": (
        "spach-nas export results/quickstart --pick knee --out knee",
        "spach-nas export hybrid_ms_s_plus --out hybrid",
    ),
    "verify": ("spach-nas verify results/quickstart/best --strict",),
    "train": (
        "spach-nas train conv_ms_xxs --data fashion-mini --recipe short --set epochs=2",
        "spach-nas train results/quickstart --data photos --set epochs=50",
    ),
    "evaluate": ("spach-nas evaluate results/quickstart/best --data fashion-mini",),
    "cost": ("spach-nas cost hybrid_ms_s_plus --json",),
    "latency": (
        "spach-nas latency conv_ms_xxs --batch-size 1,32 --runtime eager",
        "spach-nas latency my.yaml --table times.json",
    ),
    "space": ("spach-nas space quickstart --no-timing",),
    "replay": ("spach-nas replay results/quickstart --sampler tpe --trials 20 --seeds 5",),
    "audit": (
        "spach-nas audit results/spach_bench --score naswot --out audit.csv",
        "spach-nas audit my.yaml --sample 30",
    ),
    "references": ("spach-nas references",),
    "schema": ("spach-nas schema search > search.schema.json",),
    "doctor": ("spach-nas doctor",),
}


def epilog(command: str) -> str:
    """The examples of a command, with blank lines because typer joins adjacent lines."""
    lines = EXAMPLES[command]
    return "\n\n".join([f"Example{'s'[: len(lines) > 1]}:", *lines])
