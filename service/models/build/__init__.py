"""TensorRT engines from serving graphs: `python -m service.models.build MODEL`, on the GPU they are for."""
