"""A JSON Schema of search spaces, for editors."""
