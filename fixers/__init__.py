"""One file, one cure. The file's stem is the name of the rule that it cures."""
