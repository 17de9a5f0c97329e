"""torch: the engine of `.torchscript` files."""
