"""The plan of pairs, rendered; topped up, if a quota is set, where CLIP rejects."""

from functools import partial
from pathlib import Path
from typing import Annotated

import pyarrow as pa

from figment.adaptation.text_encoder import Tuned
from figment.clip.scorer import ClipConfig, ClipScorer
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.steps import step
from figment.planning.generator_config import GeneratorConfig
from figment.planning.plan import read_plan, write_plan
from figment.planning.quotas import QuotaConfig, fill_quotas
from figment.planning.tailored import plan_tailored
from figment.prompts.tricks import read_prompts
from figment.reading import read_artifact
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.families import Requests
from figment.synthesis.pool import Pool
from figment.synthesis.weights import check_family, model_revision
from figment.validation.features import FeatureStore
from figment.validation.multilabel import validate_multilabel
from figment.validation.policies import AcceptancePolicy
from steps.planning import check_plan
from steps.synthesis import prepare


@step(experiment_tracker=True)
def synthesise_pairs(
    rivals: LabelSpace,
    prompts: FileRef,
    generator: GeneratorConfig,
    negative_prompt: str,
    synthesis: SynthesisConfig,
    clip: ClipConfig,
    acceptance: AcceptancePolicy,
    images_per_pair: int,
    quota: QuotaConfig | None,
    seed: int,
    output: str,
    tuning: FileRef | None = None,
) -> tuple[Annotated[FileRef, "plan"], Annotated[FileRef, "images"]]:
    """``images_per_pair`` pictures of every pair and of every class by itself, and what a quota asks for beyond; with the
    tuned text encoder, if there is one. Interrupted, the next run goes on where this one stopped."""
    check_family(generator, Requests((generator.guidance_scale,), negative_prompt))
    adapter = read_artifact(tuning.open(), Tuned).adapter if tuning else ""
    path = Path(output) / "plan.parquet"
    rows_for = partial(
        plan_tailored,
        read_prompts(prompts.open()),
        generator,
        model_revision(generator),
        stream=seed,
        adapter=adapter,
        negative_prompt=negative_prompt,
    )
    write_plan(rows_for(images_per_pair), path)
    check_plan(path, rivals)

    pool = Pool(path.parent / "images")
    render = prepare(path, pool, synthesis, clip, FeatureStore(pool, ClipScorer(clip)))
    render(path)
    if quota:

        def render_round(topped_up: pa.Table) -> None:
            write_plan(topped_up, path)
            render(path)

        judge = partial(validate_multilabel, pool=pool, space=rivals, clip=clip, policy=acceptance)
        write_plan(fill_quotas(read_plan(path), render_round, judge, rows_for, quota), path)
    manifest = FileRef.of(pool.manifest_file)
    tracking.log_dataset(pool.manifest_file, manifest.sha256, "images")
    return FileRef.of(path), manifest
