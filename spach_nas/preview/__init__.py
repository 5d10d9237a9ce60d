"""What a search would do, before anything is trained: `spach-nas space`."""
