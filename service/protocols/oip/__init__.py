"""The Open Inference Protocol (KServe v2) over the detector, in the order a request passes through it.

HTTP body -> compression -> request [InferRequest] -> tensors [pictures | frames] -> models [Answered] -> answers.

`service.protocols.oip.routes` has the paths; nothing here knows HTTP but for the bytes of a body.
"""
