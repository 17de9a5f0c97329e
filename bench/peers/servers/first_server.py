"""The first server as it was: one Flask file under Flask's own server, raw BGR pixels in base64 in JSON.

The simulated accelerator stands in for its TensorRT engine, taken by one request at a time as its one CUDA context was.
"""

import base64
import json

import numpy as np
from flask import Flask, request
from same_work import PORT, Accelerator, letterbox

app = Flask(__name__)
accelerator = Accelerator()


@app.post("/predict")
def predict() -> str:
    """Answers one frame."""
    asked = json.loads(request.get_data())
    pixels = np.frombuffer(base64.b64decode(asked["image"]), np.uint8)
    frame = pixels.reshape(asked["height"], asked["width"], -1)
    return json.dumps(accelerator.detect([letterbox(frame)])[0])


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=PORT)
