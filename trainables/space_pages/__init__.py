"""What `python -m trainables.space` tells of a space."""
