"""A YOLO network's rows to candidates, on the device that made them: what the serving graph does in an ONNX file.

NMS is not done here, although `torchvision.ops.batched_nms` could: its thresholds are each request's own, and what it
drops at one threshold another request wants. 300 rows a frame are cheap to move and to suppress on the host.
"""

from typing import TYPE_CHECKING, Any

from framefleet.wire.manifest import Layout
from service.engines.rows import BOX_COLUMNS, TOP_ROWS

if TYPE_CHECKING:
    from torch import Tensor

LAYOUTS: tuple[Layout, ...] = ("yolov5", "yolov8")


def rows_of(answer: Any) -> "Tensor":
    """The rows in what a network gave: some exports answer with feature maps beside them.

    Raises:
        ValueError: there is no tensor of three axes.
    """
    parts = [answer] if hasattr(answer, "shape") else list(answer)
    for part in parts:
        if hasattr(part, "shape") and part.ndim == 3:  # noqa: PLR2004
            rows: Tensor = part
            return rows
    raise ValueError("the network gives no tensor of three axes; export it with the detection head and without NMS")


def to_candidates(rows: "Tensor", layout: Layout, classes: int, top_k: int = TOP_ROWS) -> "Tensor":
    """Chooses the best rows and turns them into candidates.

    Args:
        rows: `yolov5`: [n, anchors, 5 + classes]: cx, cy, w, h in pixels, objectness, class scores; `yolov8`:
            [n, 4 + classes, anchors] without objectness. Any floating type.
        layout: which of them.
        classes: scores per row.
        top_k: most candidates per frame.

    Returns:
        float32 [n, min(top_k, anchors), 6]: x1, y1, x2, y2, score, class; highest score first.

    Raises:
        ValueError: the rows are not of this layout.
    """
    rows = rows.float() if layout == "yolov5" else rows.float().transpose(1, 2)
    first_score = BOX_COLUMNS[layout]
    if rows.shape[2] != first_score + classes:
        raise ValueError(f"{rows.shape[2]} columns; layout {layout} has {first_score + classes} for {classes} classes")
    scores, labels = rows[..., first_score:].max(dim=2)
    if layout == "yolov5":
        scores = scores * rows[..., 4]
    scores, best = scores.topk(min(top_k, rows.shape[1]), dim=1)
    boxes = rows[..., :4].gather(1, best[..., None].expand(-1, -1, 4))
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    label = labels.gather(1, best).float()
    return _cat([centre - half, centre + half, scores[..., None], label[..., None]])


def _cat(parts: "list[Tensor]") -> "Tensor":
    import torch

    return torch.cat(parts, dim=2)
