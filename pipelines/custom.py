"""Any combination of the papers' stages: each stage's ``kind`` chooses whose it is, a config says all.

Class names and real images that measure in; prompts of grammars or a chat model, a generator as it is, tuned, or with learned
words, images of prompts or of photos, accepted by CLIP or a filter of one's own; any classifier out, with its report.
What cannot be combined is one sentence before anything starts (figment.recipes.combinations).

    zenml pipeline run pipelines.custom.custom -c configs/pocket/custom_classifier.yaml
"""

from figment.ops.pipelines import figment_pipeline
from figment.recipes.config import Custom
from steps.adaptation import adapt_generator
from steps.data import join_images, prepare_data
from steps.evaluation import evaluate_classifiers
from steps.labels import choose_labels
from steps.lineage import record_lineage, version_dataset
from steps.plan import plan_images
from steps.prompts import write_prompts
from steps.registration import register_model
from steps.report import write_report
from steps.rounds import run_rounds
from steps.synthesis import synthesise_images
from steps.training import train_apart, train_classifiers
from steps.validation import check_images, validate_images


@figment_pipeline
def custom(recipe: Custom) -> None:
    recipe.check()
    labels, wanted = choose_labels(recipe)
    rivals = labels if recipe.against_all else wanted  # what a class that was asked for must be more probable than
    judged = rivals if recipe.acceptance.by_clip else wanted
    data = prepare_data(recipe, labels, wanted)
    prompts = write_prompts(recipe, wanted, after=[data]) if recipe.prompts else None
    adapted = adapt_generator(recipe, rivals, wanted, data, prompts) if recipe.adaptation else None
    plan = plan_images(recipe, rivals, data, prompts, adapted)
    planned, images = synthesise_images(recipe, rivals, plan, prompts, adapted)
    verdicts = validate_images(recipe, judged, planned, images, data)
    checked = check_images(recipe, labels, data, planned, images, verdicts)
    if recipe.training.joins_images:
        data = join_images(recipe, labels, data, images, verdicts, after=[checked])
    given = (recipe, labels, data, planned, images, verdicts)
    classifiers = train_classifiers(*given, after=train_apart(*given, after=checked))
    grown = None
    if recipe.rounds:
        first = (planned, images, verdicts, classifiers, prompts, adapted)
        planned, images, verdicts, classifiers, grown = run_rounds(recipe, labels, data, *first)
    results, model = evaluate_classifiers(recipe, labels, classifiers, data, planned, images)
    made = [wanted, data, adapted, planned, images, verdicts, checked, classifiers, results, grown]
    report = write_report(recipe, [item for item in made if item is not None])
    version = register_model(recipe, model, data)
    dataset = version_dataset(recipe, after=[report, version])
    record_lineage(recipe, dataset)
