"""The search: a study that asks and learns, and Ray Tune that carries out what it asks."""
