"""Bodies -> pixels: one module per file format, and what tells them apart."""
