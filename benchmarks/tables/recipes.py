"""What the tables compare: sets of images, and the classifiers that learn from them."""

from benchmarks.tables.world import PER_CLASS, World
from figment.planning.bag_of_tricks import Shares, training_sets
from figment.training.config import TrainingConfig

PAPERS = ("base_class", "class_prompt", "multi_domain", "random_guidance")
REAL = "real"
PERFECT, PERFECT_AND_REAL = "perfect generator", "perfect generator + real"
BOUNDS = (PERFECT, REAL, PERFECT_AND_REAL)  # what synthesis could reach, few real images, and both
UNIONS = {
    "combined": dict.fromkeys(PAPERS, 1),  # the paper's best on CIFAR-10
    "all but class prompt": {"base_class": 1, "multi_domain": 1, "random_guidance": 1},  # on CIFAR-100
    "random guidance x2": {"random_guidance": 2},  # on EuroSAT
    "base class x4": {"base_class": 4},  # the control: as many images as combined, no variety
}
BEST = "combined"


def sets() -> dict[str, Shares]:
    """Images of every class by trick, for every recipe."""
    return training_sets(PAPERS, PER_CLASS, UNIONS, fixed_size=True)


def perfect_per_class() -> int:
    """As many images of a class as the best set has."""
    return sum(sets()[BEST].values())


def table2_training(world: World) -> TrainingConfig:
    """The pocket config's recipe, for every set the same."""
    return TrainingConfig(**world.parameters["training"])


# The paper's five at 32 px as it has them (nothing adapted), by one short recipe; the number of updates is what a CPU
# affords, the same for both sets of an architecture. MobileNet has the rate of the small ResNet above; ViT and ConvNeXt a
# lower one, as is usual for them.
SHORT = TrainingConfig(
    batch_size=64,
    schedule="one_cycle",
    learning_rate=1e-3,
    weight_decay=0.05,
    crop_scale=0.5,
    color_jitter=0.2,
    precision="bf16",  # on a CPU faster but where convolutions are depthwise
)
ARCHITECTURES = {
    name: SHORT.model_copy(update={"model": name, **own})
    for name, own in {
        "mobilenetv3_small_100": {"steps": 1000, "learning_rate": 3e-3, "precision": "fp32"},
        "resnet50": {"steps": 150},
        "resnet101": {"steps": 100},
        "convnext_small": {"steps": 80, "learning_rate": 5e-4},
        "vit_base_patch16_224": {"steps": 80, "learning_rate": 5e-4},
    }.items()
}
