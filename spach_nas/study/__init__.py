"""A study: its folder and records, what follows from them, and what is asked next."""
