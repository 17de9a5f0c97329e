"""One picture's way through the instance: decode, letterbox, wait, infer, select, answer."""
