"""Ray Tune and what is peculiar to it; nothing else imports Ray for a search."""
