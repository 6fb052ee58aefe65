"""One file a version, each with its way up and down in plain SQL."""
