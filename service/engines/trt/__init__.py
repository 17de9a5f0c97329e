"""TensorRT through pycuda: the engine of `.engine` files."""
