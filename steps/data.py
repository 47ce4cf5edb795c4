"""The real images: read once, in the form that later stages take, and checked before anything is asked or rendered."""

from pathlib import Path
from typing import Annotated

from figment.datasets.config import ZeroShotConfig
from figment.datasets.kinds import FewShotData, ZeroShotData
from figment.datasets.photos import draw_photos
from figment.labels import LabelSpace
from figment.manifests import FileRef, Prepared
from figment.ops import tracking
from figment.ops.caching import cached
from figment.ops.set_gates import Gates, test_images
from figment.ops.steps import step
from figment.recipes.config import AnyRecipe
from figment.synthesis.sources import keep_photos
from figment.training.features import photo_features
from figment.training.splits import splits_of
from figment.training.trainers.few_shot_head import views_of


@step(role="look", experiment_tracker=True)
def prepare_data(recipe: AnyRecipe, labels: LabelSpace, wanted: LabelSpace) -> Annotated[Prepared, "data"]:
    """splits/ of images with several classes each; photos.parquet, a few photos of every class, whose files now lie in sources/
    too. Stops the run if they do not pass their gates: few blank or repeated images, no test images among those trained on."""
    output, data = Path(recipe.output), recipe.dataset
    gates, found = Gates(recipe.gates, output), Prepared()
    if isinstance(data, FewShotData):
        splits = data.splits(labels)
        root = Path(data.root)
        masks = (root / data.train, root / data.masks) if data.masks else None
        photos = FileRef.of(keep_photos(splits.shots, labels, output, masks))
        found = Prepared(photos=photos, checked=gates.check_photos(labels, splits))
        photo_features(
            labels, data, photos, output, views_of(recipe.training, recipe.seed), cached
        )  # reads all of them
        tracking.log_metrics("data", {f"photos/{name}": len(part) for name, part in data.photo_sets(labels, 1).items()})
    elif isinstance(data, ZeroShotData):
        written = splits_of(data.as_base(ZeroShotConfig), labels, recipe.trainer.image_size, output, cached)
        found = Prepared(splits=written, checked=gates.check_splits(labels, written))
    else:
        found = Prepared(checked=gates.check_labelled(labels, data.real))
    if recipe.photos_config:
        photos = FileRef.of(keep_photos(draw_photos(recipe.photos_config, wanted), wanted, output))
        checked = gates.check_shots(wanted, photos, test_images(labels, data, found))
        found = found.model_copy(update={"photos": photos, "checked": (*found.checked, *checked)})
    return found


@step(experiment_tracker=True)
def join_images(
    recipe: AnyRecipe, labels: LabelSpace, data: Prepared, images: FileRef, verdicts: FileRef
) -> Annotated[Prepared, "joined_data"]:
    """The data with accepted images among those that are trained on: splits_with_made/."""
    config, size = recipe.dataset.as_base(ZeroShotConfig), recipe.trainer.image_size
    joined = splits_of(config, labels, size, Path(recipe.output), cached, (images, verdicts))
    return data.model_copy(update={"splits": joined})
