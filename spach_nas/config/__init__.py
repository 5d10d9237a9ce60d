"""The YAML files as checked values, and the registries of what they may name."""
