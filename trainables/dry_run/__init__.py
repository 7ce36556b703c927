"""What a search would run, how long it would take and what it would cost."""
