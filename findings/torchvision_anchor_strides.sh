#!/bin/sh
# torchvision 0.29.1 (torch 2.14.1, CPU): AnchorGenerator places the anchors of a map at multiples of an integer division,
# the side of the padded images // the side of the map. Where the network rounded the map's side up, that is less than its
# stride: at 800x800, a usual size for RetinaNet, 61 rather than 64 for the 13 cells of P6, and 114 rather than 128 for the
# 7 cells of P7. Anchors drift away from the pixels that their cells are computed from, by up to 84 of 800.
#
# Seen with Python 3.11 (the column of pixels in the middle of what the last cell reads, and the centre of its anchor):
#   map of 100, stride 8: the last cell reads around 792, its anchor lies around 792
#   map of 50, stride 16: the last cell reads around 784, its anchor lies around 784
#   map of 25, stride 32: the last cell reads around 768, its anchor lies around 768
#   map of 13, stride 64: the last cell reads around 768, its anchor lies around 732
#   map of 7, stride 128: the last cell reads around 768, its anchor lies around 684
#
# It matters for whoever computes the anchors elsewhere for trained weights, which learnt the short strides: with the true
# ones, the same answers give boxes up to 84 pixels away. Sides that are multiples of 128 have the true strides.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 'numpy<3'
cat > "$folder/program.py" <<'PYTHON'
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

SIDE = 800
middle = torch.zeros(1, 1, 3, 3)
middle[0, 0, 1, 1] = 1  # a kernel that reads the middle of its window
columns, maps = torch.arange(float(SIDE)).expand(1, 1, SIDE, SIDE), []
for halved in range(7):  # as in the network, with windows of 3x3 and a padding of 1
    columns = torch.nn.functional.conv2d(columns, middle, stride=2, padding=1)
    if halved >= 2:
        maps.append(columns)
generator = AnchorGenerator(sizes=((32,),) * len(maps), aspect_ratios=((1.0,),) * len(maps))
(anchors,) = generator(ImageList(torch.zeros(1, 3, SIDE, SIDE), [(SIDE, SIDE)]), maps)
for level, (cells, own) in enumerate(zip(maps, anchors.split([cells.numel() for cells in maps]))):
    read, last = int(cells[0, 0, -1, -1]), own[-1]
    centre, side = int((last[0] + last[2]) / 2), cells.shape[-1]
    print(f"map of {side}, stride {8 << level}: the last cell reads around {read}, its anchor lies around {centre}")
PYTHON
"$folder/venv/bin/python" "$folder/program.py" | tee "$folder/seen"
sed -n 's/^#   //p' "$0" | cmp - "$folder/seen"
