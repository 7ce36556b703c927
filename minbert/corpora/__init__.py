"""Corpora: readers of data folders, dev halves, tokenised corpora and batches."""
