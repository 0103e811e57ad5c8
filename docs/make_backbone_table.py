"""Measure the table of ``docs/backbones.md``: networks of timm, split and run with the defaults.

python docs/make_backbone_table.py

It takes about two minutes and writes ``docs/results/backbones.json``; ``make_tables.py`` writes the page. Small
variants stand for their families; nothing is downloaded.
"""

import json
from pathlib import Path

import timm
import torch

from vireid.models import create_backbone

RESULTS = Path(__file__).parent / "results" / "backbones.json"
FAMILIES = """
resnet50 resnet18 resnext26ts legacy_seresnet50 res2net50_14w_8s resnest14d resnetv2_18 regnety_002 densenet121 vgg11_bn
convnext_atto convnextv2_atto inception_next_atto efficientnet_b0 tf_efficientnetv2_b0 mobilenetv2_050
mobilenetv3_small_050 mobilenetv4_conv_small_035 ghostnet_050 repvgg_a0 repvit_m0_9 cspresnet50 dla34 hgnetv2_b0
hrnet_w18 rdnet_tiny starnet_s050 fastvit_t8 edgenext_small mobilevitv2_050 efficientvit_b0 efficientformerv2_s0
poolformer_s12 mambaout_femto nextvit_small maxvit_pico_rw_256 coatnet_pico_rw_224 caformer_s18 inception_v3
swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 focalnet_tiny_srf gcvit_xxtiny davit_tiny pvt_v2_b0 tiny_vit_5m_224
hiera_tiny_224 vit_tiny_patch16_224 deit_tiny_distilled_patch16_224 vit_small_patch14_dinov2 vit_small_patch16_dinov3
eva02_tiny_patch14_224 levit_128s xcit_nano_12_p16_224 twins_svt_small xception41 beit_base_patch16_224
"""


def describe(name):
    """One row of the table."""
    for size in ((288, 144), (256, 128)):
        try:
            backbone = create_backbone(name, image_size=size)
        except ValueError as error:
            refused = str(error)
            continue
        with torch.no_grad():
            height, width = backbone.eval()(torch.rand(1, 3, *size), torch.rand(1, 3, *size))[0].shape[2:]
        own, shared = (
            sum(parameter.numel() for parameter in part.parameters())
            for part in (backbone.visible_stages, backbone.shared_stages)
        )
        last_map = f"{backbone.out_channels}, {height}×{width}"
        share = f"{own / 1e6:.2f} of {(own + shared) / 1e6:.1f} million"
        stride = backbone.config["last_stride"]
        return [name, f"{size[0]}×{size[1]}", str(backbone.cut_channels), last_map, str(stride), share]
    reason = "other sizes" if refused.startswith("image_size") else "no"
    return [name, reason, "", "", "", ""]


def main():
    torch.set_num_threads(1)
    known = set(timm.list_models())
    rows = [describe(name) for name in FAMILIES.split() if name in known]
    RESULTS.write_text(
        json.dumps({"timm": timm.__version__, "rows": rows}, indent=1, ensure_ascii=False) + "\n", "utf-8"
    )


if __name__ == "__main__":
    main()
