"""Where weights and data are found, and what they are: folders, packages, the hub; their digests."""
