"""Finished trials as folders for others."""
