"""Search spaces: from a YAML file to distributions, conditions, runs and claims."""
