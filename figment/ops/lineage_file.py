"""``lineage.json``: what a run and its dataset are known by. Apart, so that it is read without the libraries that write it."""

from pydantic import BaseModel, ConfigDict

LINEAGE = "lineage.json"


class Lineage(BaseModel):
    """What ``lineage.json`` holds. ``outputs``: DVC's hash of every artifact, by its name in the folder. ``pointer``: the file by
    which git knows the dataset, if DVC keeps it; ``dataset`` says so or why not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pipeline: str
    zenml_run: str
    mlflow_run: str
    git_sha: str
    git_dirty: bool
    data_md5: str
    outputs: dict[str, str]
    pointer: str = ""
    dataset: str = "not versioned"  # before version_dataset was a step
    real: dict[
        str, str
    ] = {}  # files and folders of real images that the config names, with the digest of their content
