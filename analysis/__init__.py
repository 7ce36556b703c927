"""Reads a study folder and trains nothing: tables, ensembles, pictures and a report."""
