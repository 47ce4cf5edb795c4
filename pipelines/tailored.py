"""Zero-shot multi-label classification by tailored images (Zhang et al. 2024, "Diverse and Tailored Image Generation for
Zero-shot Multi-label Classification").

Names of unseen classes in; prompts for their pairs, a text encoder tuned on them, images that CLIP has checked, and a
classifier out that learned from those and from real images of seen classes.

    zenml pipeline run pipelines.tailored.tailored -c configs/pocket/tailored.yaml
"""

from figment.ops.pipelines import figment_pipeline
from figment.recipes.config import Tailored
from steps.adaptation import adapt_generator
from steps.data import prepare_data
from steps.evaluation import evaluate_classifiers
from steps.labels import choose_labels
from steps.lineage import record_lineage, version_dataset
from steps.plan import plan_images
from steps.prompts import write_prompts
from steps.registration import register_model
from steps.report import write_report
from steps.synthesis import synthesise_images
from steps.training import train_classifiers
from steps.validation import check_images, validate_images


@figment_pipeline
def tailored(recipe: Tailored) -> None:
    recipe.check()
    labels, unseen = choose_labels(recipe)
    rivals = labels if recipe.against_all else unseen  # what a class that was asked for must be more probable than
    data = prepare_data(recipe, labels, unseen)  # wrong data shows before anything is rendered
    prompts = write_prompts(recipe, unseen, after=[data])
    adapted = adapt_generator(recipe, rivals, unseen, data, prompts) if recipe.adaptations else None
    plan = plan_images(recipe, rivals, data, prompts, adapted)
    planned, images = synthesise_images(recipe, rivals, plan, prompts, adapted)
    verdicts = validate_images(recipe, rivals, planned, images)
    checked = check_images(recipe, labels, data, planned, images, verdicts)
    classifiers = train_classifiers(recipe, labels, data, planned, images, verdicts, after=[checked])
    results, model = evaluate_classifiers(recipe, labels, classifiers, data, planned, images)
    made = [unseen, data, adapted, planned, images, verdicts, checked, classifiers, results]
    report = write_report(recipe, [item for item in made if item is not None])
    version = register_model(recipe, model, data)
    dataset = version_dataset(recipe, after=[report, version])
    record_lineage(recipe, dataset)
