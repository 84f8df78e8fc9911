"""What keeps the README in step with the code."""
