"""Files that survive: atomic writing, seals, journals of lines, and what must not be followed."""
