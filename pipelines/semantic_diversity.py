"""Zero-shot tags by semantic diversity (Ben-Cohen et al. 2021, "Semantic Diversity Learning for Zero-Shot Multi-label
Classification").

Images with seen tags in; a matrix of embeddings that ranks unseen tags too, its ZSL and GZSL measures after every epoch,
a report and a registered model out. With ``generated``, images synthesised for the unseen tags join the training if CLIP
sees in them what they were asked to show.

    zenml pipeline run pipelines.semantic_diversity.semantic_diversity -c configs/pocket/semantic_diversity.yaml
"""

from figment.ops.pipelines import figment_pipeline
from figment.recipes.config import SemanticDiversity
from steps.data import join_images, prepare_data
from steps.evaluation import evaluate_classifiers
from steps.labels import choose_labels
from steps.lineage import record_lineage, version_dataset
from steps.plan import plan_images
from steps.registration import register_model
from steps.report import write_report
from steps.synthesis import synthesise_images
from steps.training import train_classifiers
from steps.validation import check_images, validate_images


@figment_pipeline
def semantic_diversity(recipe: SemanticDiversity) -> None:
    recipe.check()
    labels, unseen = choose_labels(recipe)
    data = prepare_data(recipe, labels, unseen)  # wrong data shows before anything is rendered
    planned = images = verdicts = checked = None
    if recipe.planning:
        plan = plan_images(recipe, labels, data)
        planned, images = synthesise_images(recipe, labels, plan)
        verdicts = validate_images(recipe, labels, planned, images)
        checked = check_images(recipe, labels, data, planned, images, verdicts)
        data = join_images(recipe, labels, data, images, verdicts, after=[checked])
    classifiers = train_classifiers(recipe, labels, data, planned, images, verdicts)
    results, model = evaluate_classifiers(recipe, labels, classifiers, data, planned, images)
    made = [data, planned, images, verdicts, checked, classifiers, results]
    report = write_report(recipe, [item for item in made if item is not None])
    version = register_model(recipe, model, data)
    dataset = version_dataset(recipe, after=[report, version])
    record_lineage(recipe, dataset)
