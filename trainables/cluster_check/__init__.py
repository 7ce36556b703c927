"""What is wrong with a file for Ray's cluster launcher, found without starting anything."""
