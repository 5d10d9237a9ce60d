"""Training and evaluation of one network at full size."""
