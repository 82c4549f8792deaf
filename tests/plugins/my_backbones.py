import torch
from torch import nn

from trainables.backbones import Backbone
from trainables.preprocessing import ImagePreprocessing


def build(spec):  # of "mine/three_layers@./weights.pth": spec.architecture, spec.weights
    stem = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.ReLU())
    middle = nn.Sequential(nn.Conv2d(16, 32, 2, stride=2), nn.ReLU())
    last = nn.Sequential(nn.Conv2d(32, 64, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    half = (0.5, 0.5, 0.5)
    fed = ImagePreprocessing(input_size=32, mean=half, std=half, interpolation="bilinear", crop_frac=1.0)
    backbone = Backbone(spec, [stem, middle, last], nn.Linear(64, 10), fed)
    if spec.weights not in (None, "random"):
        backbone.load_state_dict(torch.load(spec.weights, weights_only=True))
    return backbone
