#!/bin/sh
# torchvision 0.29.1 (torch 2.14.1, CPU): torchvision.ops.nms and a comparison of torchvision.ops.box_iou disagree about two boxes whose
# IoU is the threshold itself. The documentation says that a box goes if its IoU is greater than the threshold. nms compares the float32
# IoU with the threshold in double precision; where float32 rounds the number up, as with 0.3 and 0.55, equal counts as greater.
# box_iou(...) > 0.55 rounds the threshold to float32 first, as PyTorch does with every Python number, and says no.
#
# Seen with Python 3.11:
#   threshold 0.3, IoU 3/10: box_iou greater: False, nms keeps [0]
#   threshold 0.5, IoU 1/2: box_iou greater: False, nms keeps [0, 1]
#   threshold 0.55, IoU 11/20: box_iou greater: False, nms keeps [0]
#
# It matters for whoever computes the suppression elsewhere, from boxes on whole pixels: with a threshold in float32 the
# same boxes give other detections. Round the threshold down to float32 instead.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 'numpy<3'
cat > "$folder/program.py" <<'PYTHON'
import torch
from torchvision.ops import box_iou, nms

for threshold, part, whole in ((0.3, 3, 10), (0.5, 1, 2), (0.55, 11, 20)):
    boxes = torch.tensor([[0.0, 0.0, whole, 1.0], [0.0, 0.0, part, 1.0]])
    greater = bool(box_iou(boxes[:1], boxes[1:])[0, 0] > threshold)
    kept = nms(boxes, torch.tensor([0.9, 0.8]), threshold).tolist()
    print(f"threshold {threshold}, IoU {part}/{whole}: box_iou greater: {greater}, nms keeps {kept}")
PYTHON
"$folder/venv/bin/python" "$folder/program.py" | tee "$folder/seen"
cat > "$folder/expected" <<'TEXT'
threshold 0.3, IoU 3/10: box_iou greater: False, nms keeps [0]
threshold 0.5, IoU 1/2: box_iou greater: False, nms keeps [0, 1]
threshold 0.55, IoU 11/20: box_iou greater: False, nms keeps [0]
TEXT
cmp "$folder/seen" "$folder/expected"
