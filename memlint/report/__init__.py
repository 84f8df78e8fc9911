"""What the user sees: one module per output format."""
