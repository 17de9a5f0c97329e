"""A bare Flask route that reads the body and answers, under the same gunicorn and gthread as an instance of ours."""

from flask import Flask, request

ANSWER = b'[{"0": [0, 0, 0, 0, 0.9]}]'


def create_app() -> Flask:
    """The application."""
    app = Flask(__name__)

    @app.post("/predict")
    def predict() -> tuple[bytes, dict[str, str]]:
        request.get_data()
        return ANSWER, {"Content-Type": "application/json"}

    return app
