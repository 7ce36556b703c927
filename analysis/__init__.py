"""Reads a study folder and trains nothing: tables, ensembles, pictures and a report."""

from minbert.loading import load_interruptibly

load_interruptibly()
