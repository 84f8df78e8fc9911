"""What memlint costs beside other tools, on the same files."""
