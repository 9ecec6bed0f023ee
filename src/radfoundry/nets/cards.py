"""What is known of every encoder before it is built: what it reads, where its weights come from, their licence."""

from __future__ import annotations

from dataclasses import dataclass

from radfoundry import registry

OWN = "Apache-2.0 (radfoundry)"
CHECK = "the licence beside the weights decides"


@dataclass(frozen=True)
class Card:
    """One encoder in a few words; `licence` is that of the published weights, as far as their authors state one."""

    name: str
    about: str
    reads: str
    weights: str = "fresh from a seed; nothing is learned yet"
    licence: str = OWN
    source: str = ""
    extra: str = ""


CARDS = (
    Card(
        "radfoundry-mri",
        "own MRI encoder whose weights ship with the package",
        "MR volumes of 64³ voxels of 3 mm",
        weights="bundled; learned from simulated heads alone",
    ),
    Card("vit3d-tiny", "own 3D token encoder", "volumes of 64³ voxels of 3 mm"),
    Card("vit3d-small", "own 3D token encoder", "volumes of 96³ voxels of 2 mm"),
    Card("vit3d-base", "own 3D token encoder, as wide and deep as ViT-B", "volumes of 96³ voxels of 2 mm"),
    Card("vit3d-large", "own 3D token encoder, as wide and deep as ViT-L", "volumes of 128³ voxels of 1.5 mm"),
    Card("vit2d-tiny", "own token encoder for pictures", "pictures of 128 x 128"),
    Card("conv3d-tiny", "own 3D residual convolutional encoder", "volumes of 64³ voxels of 3 mm"),
    Card("conv3d-small", "own 3D residual convolutional encoder", "volumes of 96³ voxels of 2 mm"),
    Card("conv2d-tiny", "own residual convolutional encoder for pictures", "any picture, brought to 128 x 128"),
    Card("vit2d-standard", "own 2D vision transformer in the usual layout", "any picture, brought to 224 x 224"),
    Card("sequence-set", "one encoder for every sequence present, pooled", "sets of volumes, any subset missing"),
    Card("slices", "a 2D encoder over the slices of a volume, pooled", "volumes, cut to 12 slices of 6 mm"),
    Card("intensity", "first-order statistics and a coarse picture", "volumes and pictures", weights="has none"),
    Card(
        "vit2d-file",
        "2D vision transformers of timm, open_clip and DINOv2",
        "any picture, brought to the size the weights were trained at",
        weights="path=FILE.safetensors or a folder with it",
        licence=f"DINOv2 Apache-2.0; OpenAI CLIP and BiomedCLIP MIT; others: {CHECK}",
        source="Oquab et al. 2023, arXiv 2304.07193; Radford et al. 2021, arXiv 2103.00020",
    ),
    Card(
        "hf-dinov2",
        "DINOv2 and RAD-DINO as the transformers library keeps them",
        "any picture, shorter side brought to the trained size",
        weights="path=FOLDER with config.json and model.safetensors",
        licence="DINOv2 Apache-2.0; RAD-DINO Microsoft research licence (MSRLA): research use",
        source="Oquab et al. 2023, arXiv 2304.07193; Pérez-García et al. 2024, arXiv 2401.10815",
        extra="hf",
    ),
    Card(
        "hf-clip",
        "the image half of CLIP",
        "any picture, shorter side brought to the trained size",
        weights="path=FOLDER with config.json and model.safetensors",
        licence="OpenAI CLIP MIT, its model card advises against untested deployment; fine-tuned ones: " + CHECK,
        source="Radford et al. 2021, arXiv 2103.00020",
        extra="hf",
    ),
    Card(
        "hf-siglip",
        "the image half of SigLIP and MedSigLIP",
        "any picture, brought to a square of the trained size",
        weights="path=FOLDER with config.json and model.safetensors",
        licence="SigLIP Apache-2.0; MedSigLIP Health AI Developer Foundations terms of use",
        source="Zhai et al. 2023, arXiv 2303.15343; Sellergren et al. 2025, arXiv 2507.05201",
        extra="hf",
    ),
    Card(
        "monai-swin",
        "Swin transformer of SwinUNETR",
        "volumes of 96³ voxels of 1.5 mm",
        weights="path=FILE.safetensors, converted from the published .pt",
        licence="MONAI code Apache-2.0; weights: " + CHECK,
        source="Tang et al. 2022, arXiv 2111.14791; Hatamizadeh et al. 2022, arXiv 2201.01266",
        extra="monai",
    ),
    Card(
        "monai-segresnet",
        "descending half of SegResNet",
        "volumes of 96³ voxels of 1 mm",
        weights="path=FILE.safetensors, converted from the published .pt",
        licence="MONAI code Apache-2.0; weights: " + CHECK,
        source="Myronenko 2018, arXiv 1810.11654",
        extra="monai",
    ),
    Card(
        "monai-resnet",
        "3D ResNet under MONAI's names of weights",
        "volumes of 96³ voxels of 2 mm",
        weights="path=FILE.safetensors, converted from the published .pt",
        licence="MONAI code Apache-2.0; weights: " + CHECK,
        source="He et al. 2016, arXiv 1512.03385",
    ),
    Card(
        "medicalnet",
        "MedicalNet: 3D ResNet of 23 sets of MR and CT",
        "volumes of 96³ voxels of 2 mm (our choice; the authors name no voxel size)",
        weights="path=FILE.safetensors, converted from the published .pth",
        licence="MIT",
        source="Chen et al. 2019, arXiv 1904.00625",
    ),
    Card(
        "fmcib",
        "FMCIB: wide 3D ResNet-50 of lesions on CT",
        "CT cubes of 50³ voxels of 1 mm around a lesion",
        weights="path=FILE.safetensors, converted from the published .torch",
        licence="code MIT; weights: " + CHECK,
        source="Pai et al. 2024, Nature Machine Intelligence 6",
    ),
    Card(
        "resenc",
        "residual encoder of nnU-Net and nnssl (OpenMind)",
        "volumes of 160³ voxels of 1 mm, or as the plan says",
        weights="path=FILE.safetensors, converted from the published .pth; plans.json beside it is read",
        licence="code Apache-2.0; weights: " + CHECK,
        source="Isensee et al. 2024, arXiv 2404.09556; Wald et al. 2025, arXiv 2412.17041",
    ),
    Card(
        "models-genesis",
        "Models Genesis: descending half of a 3D U-Net of chest CT",
        "CT cubes of 64 x 64 x 32 voxels",
        weights="path=FILE.safetensors, converted from the published .pt",
        licence="MIT file in the authors' repository; " + CHECK,
        source="Zhou et al. 2021, arXiv 2004.07882",
    ),
)


def card(name: str) -> Card:
    """The card of an encoder; one from another package has a card that says so.

    >>> card("medicalnet").licence
    'MIT'
    """
    known = registry.entries("encoders")
    if name not in known:
        raise registry.unknown("encoder", name, known, remedy="radfoundry list encoders")
    for item in CARDS:
        if item.name == name:
            return item
    return Card(name, f"built by {known[name]}", "what its spec says", weights="not described", licence="not stated")
