"""Where trials run: connection, placement, shares of a GPU, what reaches a machine."""
