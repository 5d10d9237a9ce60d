"""What can be built: architectures, mixers, search spaces, the paper's models."""
