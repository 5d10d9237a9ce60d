"""What to try next: Optuna's samplers and our own, kept inside the limits."""
