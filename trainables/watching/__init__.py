"""What a search shows while it runs, and what its files tell from outside."""
