"""FastAPI under uvicorn: raw body, the blocking part in the thread pool, one worker process a core.

Set up as FastAPI's "Server Workers" and uvicorn's "Deployment" pages do: `uvicorn[standard]` (uvloop, httptools), a
worker a core; without the access log, which uvicorn's settings let one leave out. FastAPI does not batch.
"""

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from same_work import CORES, PORT, Accelerator, as_text, decode, letterbox

app = FastAPI()
accelerator = Accelerator()


def detect(body: bytes) -> bytes:
    """Picture file in, JSON out."""
    return as_text(accelerator.detect([letterbox(decode(body))])[0])


@app.post("/predict")
async def predict(request: Request) -> Response:
    """Answers one picture."""
    return Response(await run_in_threadpool(detect, await request.body()), media_type="application/json")


if __name__ == "__main__":
    uvicorn.run("fastapi_server:app", host="127.0.0.1", port=PORT, workers=CORES, access_log=False)
