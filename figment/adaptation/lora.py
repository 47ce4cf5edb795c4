"""Learning LoRAs (Hu et al. 2021) from a few photos of each class, as DataDream and LoFT do: one for each class, or one for all.

What is learned is a LoRA file of diffusers, which any tool around diffusers loads, and which a plan's rows name as their adapter.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import peft
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save
from torch import Tensor, nn

from figment.adaptation.config import LoraConfig
from figment.adaptation.denoising import Denoising, Photos
from figment.adaptation.textual_inversion import ConceptProbe, Probing, check_photos, probe_adapters
from figment.checkpoint import Checkpoint
from figment.errors import InputError
from figment.files import atomic, canonical_json, digest
from figment.keys import checkpoint_key
from figment.loop import Log, Part, Row, Stateful, fit
from figment.planning.adapters import lora_adapter
from figment.planning.generator_config import GeneratorConfig
from figment.planning.row import seed_of
from figment.synthesis.concepts import text_encoders

CHECKPOINT_VERSION = 2  # raise it where old checkpoints must not be resumed (figment.keys)
ALL = "all classes"
TARGETS = {"unet": ["to_q", "to_k", "to_v", "to_out.0"], "text_encoder": ["q_proj", "k_proj", "v_proj", "out_proj"]}
PEFT_NAME = "learning"


class LorasFile(BaseModel):
    """What ``loras.json`` holds: by class name the adapter of rows, for those whose probe says that they are usable, and how each
    was probed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learned: ClassVar[str] = "LoRA"

    loras: dict[str, str]
    probes: dict[str, ConceptProbe]

    @property
    def metrics(self) -> dict[str, float]:
        return {"usable_loras": len(self.loras), "classes": len(self.probes)}


class LoraLearning(Denoising):
    """LoRAs on a frozen model, one after the other."""

    name, unit = "loras", "step"

    def __init__(self, generator: GeneratorConfig, photos: Photos, names: Mapping[str, str], config: LoraConfig):
        super().__init__(generator, photos, config)
        self.lora: LoraConfig = config
        self.count = self.steps = config.steps
        self.said = {name: [names[name]] * len(self.latents[name][0]) for name in self.names}
        self.classes = {name: [name] for name in self.names}
        if config.per == "all":
            parts = [self.latents[name] for name in self.names]
            self.latents = {ALL: tuple(torch.cat(of_all) for of_all in zip(*parts, strict=True))}  # type: ignore[dict-item]
            self.said = {ALL: [said for name in self.names for said in self.said[name]]}
            self.classes = {ALL: self.names}
        self.meanings: dict[str, dict[str, Tensor]] = {}
        encoders = text_encoders(self.pipeline) if config.text_encoder else {}
        self.networks: dict[str, Any] = {"unet": self.pipeline.unet, **encoders}

    def key(self, group: str) -> str:
        chosen = self.lora.model_dump(mode="json", exclude={"device", "per", "weight"}, exclude_defaults=True)
        photos = {name: self.photos[name] for name in self.classes[group]}
        return checkpoint_key(CHECKPOINT_VERSION, **self.origin, config=chosen, said=self.said[group], photos=photos)

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is learned, by its name in a file of diffusers."""
        return {
            f"{part}.{name.replace(f'.{PEFT_NAME}', '')}": parameter
            for part, network in self.networks.items()
            for name, parameter in network.named_parameters()
            if f".{PEFT_NAME}." in name
        }

    def begin(self, group: str) -> None:
        """A fresh LoRA on the networks, of its group's own random numbers, and its optimiser."""
        config, self.group, self.skipped = self.lora, group, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(digest([config.seed, group])))
            for part, network in self.networks.items():
                settings = peft.LoraConfig(**self.settings(part), init_lora_weights=True)
                network.add_adapter(settings, adapter_name=PEFT_NAME)
        learned = list(self.parameters().values())
        for parameter in learned:
            parameter.data = parameter.data.float()
        self.optimizer = torch.optim.AdamW(learned, config.learning_rate, weight_decay=config.weight_decay)

    def settings(self, part: str) -> dict[str, Any]:
        targets = TARGETS["unet" if part == "unet" else "text_encoder"]
        return {"r": self.lora.rank, "lora_alpha": self.lora.alpha or self.lora.rank, "target_modules": targets}

    def end(self) -> None:
        self.pipeline.delete_adapters(PEFT_NAME)

    def step(self, group: str, number: int) -> float:
        """One update; the loss. One whose loss or gradient is no number changes nothing."""
        clean, noise, times, prompts = self.show(group, self.said[group], number)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.errors(clean, noise, times, self.meaning(prompts)).mean()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters().values(), 1.0)
        if norm.isfinite():
            self.optimizer.step()
        return loss.item() if norm.isfinite() else math.nan

    def parts(self) -> dict[str, Stateful]:
        skipped = Part(lambda: {"count": self.skipped}, lambda saved: setattr(self, "skipped", saved["count"]))
        return {"lora": Part(self.weights, self.load), "optimizer": self.optimizer, "skipped": skipped}

    def round(self, first: int, last: int) -> Iterator[Row | None]:
        loss = self.step(self.group, first)
        self.skipped += not math.isfinite(loss)
        yield None
        yield from self.spaced(loss, self.skipped, last)

    def meaning(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """The embedded prompts, each tensor (B, ...)."""
        if self.lora.text_encoder:
            return self.encoder.encode(list(prompts))
        with torch.no_grad():
            self.meanings |= {text: self.encoder.encode([text]) for text in set(prompts) - self.meanings.keys()}
        return {name: torch.cat([self.meanings[text][name] for text in prompts]) for name in self.meanings[prompts[0]]}

    def write(self, group: str, folder: Path) -> Path:
        """``<folder>/<sha256>.safetensors``, as diffusers saves a LoRA."""
        tensors = {name: parameter.detach().cpu().contiguous() for name, parameter in self.parameters().items()}
        settings = {f"{part}.{n}": v for part in self.networks for n, v in self.settings(part).items()}
        content = save(tensors, {"lora_adapter_metadata": canonical_json(settings)})
        path = folder / f"{hashlib.sha256(content).hexdigest()}.safetensors"
        with atomic(path) as partial:
            partial.write_bytes(content)
        return path


def learn_loras(
    generator: GeneratorConfig,
    photos: Photos,
    names: Mapping[str, str],
    config: LoraConfig,
    folder: Path,
    log: Log = lambda step, row: None,
) -> dict[str, str]:
    """Learn LoRAs from ``photos`` of each class, (H, W, 3) uint8 RGB of any size, into ``<folder>/<sha256>.safetensors``; by
    class name the adapter of rows that are made with it.

    ``names`` gives each class's prompt name. Photos are squashed to the generator's width and height. An interrupted call is
    resumed when it is repeated, and ends with the same files. ``log`` receives (step, {loss, skipped}), the steps of all LoRAs
    counted together. Raises InputError for photos that are none, for a model that cannot learn, and for a loss that never is a
    number.
    """
    check_photos(photos, names)
    learning = LoraLearning(generator, photos, names, config)
    found: dict[str, str] = {}
    for position, group in enumerate(learning.classes):
        path = _learn(learning, group, folder, lambda step, row, p=position: log(p * config.steps + step, row))  # type: ignore[misc]
        found |= dict.fromkeys(learning.classes[group], lora_adapter(path.stem, config.weight))
    return found


def _learn(learning: LoraLearning, group: str, folder: Path, log: Log) -> Path:
    key = learning.key(group)
    learning.begin(group)
    fit(learning, Checkpoint(folder / f".learning-{key[:16]}.pt", key), log)
    if learning.skipped == learning.count:
        raise InputError(f"LoRA of {group!r}: its loss was never a number; set dtype to float32, or look at its photos")
    path = learning.write(group, folder)
    learning.end()
    return path


def probe_loras(loras: Mapping[str, str], names: Mapping[str, str], folder: Path, probing: Probing) -> LorasFile:
    """Render a few images of every class with its LoRA from ``folder`` and compare them with the photos; the usable ones."""
    rows = {
        name: {"prompt": probing.config.template.replace("{name}", names[name]), "adapter": adapter}
        for name, adapter in loras.items()
    }
    probes = probe_adapters(rows, folder, probing)
    return LorasFile(loras={name: loras[name] for name, probe in probes.items() if probe.usable}, probes=probes)
