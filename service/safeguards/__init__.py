"""What keeps an instance from hanging, growing, or dying again and again of the same picture."""
