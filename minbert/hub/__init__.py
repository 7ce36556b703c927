"""What :mod:`minbert.fetch` gets from the Hugging Face hub: which files, how they come, and how they are laid out."""
