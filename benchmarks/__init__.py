"""Benchmarks: what is claimed to be fast, measured. Never part of the tests."""
