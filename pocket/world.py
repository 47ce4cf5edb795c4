"""The pocket world: small scenes with captions, composed from sprites in batches of tensors on any device.

A scene holds one or two objects before a background, drawn in one of five domains; ``crowd`` draws up to four. Its
caption names the objects, the domain and the background in the grammar that Figment's prompts use, so a generator trained
on it understands them.
"""

import hashlib
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from pocket.artwork import load_sprites

Chunk = tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]
RENDER_SIZE = 64  # scenes are drawn at 64 px and averaged down to the world's size

DOMAINS = ("photo", "painting", "sketch", "silhouette", "poster")
DOMAIN_SHARES = (0.46, 0.15, 0.13, 0.12, 0.14)
# "an image of" and the bare name are mostly, not only, photographs: that is what random captions of the web look like.
GENERIC_DOMAIN_SHARES = (0.70, 0.10, 0.05, 0.05, 0.10)

# background -> (upper colour, lower colour, height of the horizon or None for a smooth gradient)
BACKGROUNDS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], float | None]] = {
    "on a white background": ((0.99, 0.99, 0.99), (0.90, 0.90, 0.90), None),
    "on a gray background": ((0.66, 0.66, 0.66), (0.50, 0.50, 0.50), None),
    "on a blue background": ((0.45, 0.65, 0.95), (0.25, 0.45, 0.85), None),
    "on a green background": ((0.55, 0.85, 0.50), (0.30, 0.65, 0.30), None),
    "on a yellow background": ((1.00, 0.93, 0.50), (0.95, 0.80, 0.30), None),
    "on a pink background": ((1.00, 0.80, 0.88), (0.95, 0.62, 0.75), None),
    "on a purple background": ((0.70, 0.55, 0.90), (0.50, 0.35, 0.75), None),
    "on the grass": ((0.72, 0.88, 0.98), (0.40, 0.70, 0.32), 0.62),
    "on the beach": ((0.55, 0.82, 0.96), (0.93, 0.85, 0.62), 0.66),
    "in the snow": ((0.72, 0.80, 0.90), (0.97, 0.98, 1.00), 0.60),
    "at sunset": ((0.55, 0.35, 0.60), (1.00, 0.65, 0.35), None),
    "at night": ((0.05, 0.07, 0.20), (0.16, 0.18, 0.36), None),
}


def fingerprint(tensor: Tensor, text: str = "") -> str:
    """A short hash of a tensor's bytes and a text."""
    content = hashlib.sha256(tensor.contiguous().cpu().numpy().tobytes())
    content.update(text.encode())
    return content.hexdigest()[:16]


def article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


@dataclass
class Scenes:
    """A batch of scenes: ``pixels`` (B, 3, S, S) in [0, 1], multi-hot ``objects`` (B, N), ``domains`` (B,), captions."""

    pixels: Tensor
    objects: Tensor
    domains: Tensor
    captions: list[str]

    @property
    def digest(self) -> str:
        """A short hash of the images and what is said of them: what a checkpoint was trained on."""
        return fingerprint(self.pixels, "\0".join(self.captions))

    def save(self, path: Path) -> None:
        """One safetensors file: pixels as uint8, captions as a NUL-separated byte tensor."""
        tensors = {
            "pixels": self.pixels if self.pixels.dtype == torch.uint8 else (self.pixels * 255).round().to(torch.uint8),
            "objects": self.objects.to(torch.uint8),
            "domains": self.domains.to(torch.uint8),
            "captions": torch.frombuffer(bytearray("\0".join(self.captions).encode()), dtype=torch.uint8),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file(tensors, partial)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Scenes":
        """Pixels stay uint8 in memory; ``batch`` converts what a training step needs."""
        tensors = load_file(path)
        captions = tensors["captions"].numpy().tobytes().decode().split("\0")
        return cls(tensors["pixels"], tensors["objects"].long(), tensors["domains"].long(), captions)

    def batch(self, rows: Tensor) -> Tensor:
        """Pixels (B, 3, S, S) in [-1, 1] of the given rows of a loaded (uint8) set."""
        return self.pixels[rows].float() / 127.5 - 1

    def to(self, device: str) -> "Scenes":
        """The same scenes with their tensors on another device."""
        tensors = (self.pixels.to(device), self.objects.to(device), self.domains.to(device))
        return Scenes(*tensors, self.captions)


@dataclass
class World:
    """Draws scenes of ``objects`` out of one or more art sets (Parquet tables made by ``pocket.artwork``).

    A ``calm`` world shows its objects unmirrored and in steadier poses: half the modes, so a generator learns them in
    half the time (classifiers flip their training images anyway). CLIP, judge and real images see every pose.
    """

    artwork: list[Path]
    objects: list[str]
    size: int = 32
    calm: bool = False
    sprites: Tensor = field(init=False, repr=False)
    sprite_object: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sets = [load_sprites(Path(path), self.objects) for path in self.artwork]
        self.sprites = torch.cat([sprites for sprites, _ in sets])
        self.sprite_object = torch.cat([ids for _, ids in sets])
        counts = torch.bincount(self.sprite_object, minlength=len(self.objects))
        if (counts == 0).any():
            missing = [name for name, count in zip(self.objects, counts, strict=True) if count == 0]
            raise ValueError(f"the artwork {[str(p) for p in self.artwork]} has no sprite for {missing}")
        self._by_object = [torch.nonzero(self.sprite_object == i).flatten() for i in range(len(self.objects))]

    def choose(self, sprites: Mapping[int, Sequence[int]]) -> "World":
        """The same world in which the objects (ids) are drawn by these rows of ``sprites`` alone; others as before."""
        world = copy(self)
        world._by_object = [torch.tensor(sprites[i]) if i in sprites else own for i, own in enumerate(self._by_object)]
        return world

    def sample(
        self,
        count: int,
        generator: torch.Generator,
        *,
        pairs: float = 0.3,
        objects: Tensor | None = None,
        domain: str | None = None,
    ) -> Scenes:
        """Draw ``count`` scenes. ``pairs``: share with two objects. ``objects`` (B,) and ``domain`` fix what is drawn."""
        g, n = generator, len(self.objects)
        first = torch.randint(n, (count,), generator=g) if objects is None else objects
        second = (first + torch.randint(1, n, (count,), generator=g)) % n
        paired = torch.rand(count, generator=g) < pairs
        generic = torch.rand(count, generator=g) < (0.4 if domain is None else 0.0)
        shares = torch.where(generic[:, None], torch.tensor(GENERIC_DOMAIN_SHARES), torch.tensor(DOMAIN_SHARES))
        domains = torch.multinomial(shares, 1, generator=g).flatten()
        if domain is not None:
            domains.fill_(DOMAINS.index(domain))
        background = torch.randint(len(BACKGROUNDS), (count,), generator=g)

        pixels = self._draw(first, second, paired, domains, background, g)
        multi_hot = F.one_hot(first, n) | (F.one_hot(second, n) * paired[:, None])
        captions = [
            self._caption(a, b, both, style, place, vague, g)
            for a, b, both, style, place, vague in zip(
                first.tolist(), second.tolist(), paired.tolist(), domains.tolist(),
                background.tolist(), generic.tolist(), strict=True,
            )
        ]  # fmt: skip
        return Scenes(pixels, multi_hot, domains, captions)

    def crowd(self, count: int, generator: torch.Generator, most: int = 4) -> Scenes:
        """Photos of 1 to ``most`` different objects, each number as often: a single one fills the image, several stand in
        cells of a grid of two by two, at the size they have in pairs. ``most`` is at most 4 and at most the objects."""
        g, n = generator, len(self.objects)
        if not 1 <= most <= min(4, n):
            raise ValueError(f"most is {most}; a scene shows 1 to {min(4, n)} of {n} objects")
        crowd = torch.randint(1, most + 1, (count,), generator=g)
        chosen = torch.rand(count, n, generator=g).argsort(1)[:, :most]
        cells = torch.rand(count, 4, generator=g).argsort(1)
        background = torch.randint(len(BACKGROUNDS), (count,), generator=g)
        single = crowd == 1

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return torch.rand(count, *shape, generator=g) * (high - low) + low

        device = self.sprites.device
        layer = torch.zeros(count, 4, RENDER_SIZE, RENDER_SIZE, device=device)
        for i in range(most):
            scale = torch.where(single, uniform(0.74, 0.94), uniform(0.46, 0.54))
            x, y = (
                torch.where(single, uniform(-0.08, 0.08), side.sub(0.5) + uniform(-0.03, 0.03))
                for side in (cells[:, i] % 2, cells[:, i] // 2)
            )
            placed = self._place(chosen[:, i], scale.to(device), x.to(device), y.to(device), g)
            placed = placed * (i < crowd).to(device)[:, None, None, None]
            layer = placed + layer * (1 - placed[:, 3:])
        scenery = self._backgrounds(
            background.to(device), uniform(-0.06, 0.06, 3, 1, 1).to(device), uniform(-0.05, 0.05).to(device)
        )
        images = F.interpolate(self._photo(layer, scenery, g), size=(self.size, self.size), mode="area").clamp(0, 1)
        shown = torch.arange(most) < crowd[:, None]
        objects = torch.zeros(count, n, dtype=torch.long).scatter_(1, chosen, shown.long())
        captions = [
            "a photo of " + " and ".join(f"{article(self.objects[j])} {self.objects[j]}" for j in row[:k])
            for row, k in zip(chosen.tolist(), crowd.tolist(), strict=True)
        ]
        return Scenes(images, objects, torch.full((count,), DOMAINS.index("photo")), captions)

    def render(self, count: int, seed: int, processes: int | None = None, chunk: int = 500) -> Scenes:
        """``sample`` by many processes (None: one a core), with pixels as uint8 ready to be saved. Each chunk has a seed of
        its own, so the scenes depend on ``seed`` and ``chunk`` alone, not on how many processes draw them."""
        jobs = [(seed * 1_000_003 + i, min(chunk, count - start)) for i, start in enumerate(range(0, count, chunk))]
        processes = min(processes or os.cpu_count() or 1, len(jobs))
        if processes == 1:
            parts = [self._draw_chunk(job) for job in jobs]
        else:
            own = (self.artwork, self.objects, self.size, self.calm)
            with multiprocessing.get_context("spawn").Pool(processes, _start_drawing, own) as pool:
                parts = list(pool.imap(_draw_chunk, jobs))
        pixels, objects, domains, captions = zip(*parts, strict=True)
        return Scenes(
            torch.from_numpy(np.concatenate(pixels)),
            torch.from_numpy(np.concatenate(objects)),
            torch.from_numpy(np.concatenate(domains)),
            [caption for part in captions for caption in part],
        )

    def _draw_chunk(self, job: tuple[int, int]) -> Chunk:
        """(seed, count) -> uint8 pixels, multi-hot objects and domains as arrays, captions."""
        seed, count = job
        scenes = self.sample(count, torch.Generator().manual_seed(seed))
        pixels = (scenes.pixels * 255).round().to(torch.uint8)
        return pixels.numpy(), scenes.objects.numpy(), scenes.domains.numpy(), scenes.captions

    # ---------------------------------------------------------------- captions

    def _caption(
        self, first: int, second: int, paired: bool, domain: int, background: int, generic: bool, g: torch.Generator
    ) -> str:
        dice = torch.rand(5, generator=g).tolist()
        names = [self.objects[first]] + ([self.objects[second]] if paired else [])
        # Prompt grammars of the papers write "a airplane" too; the generator should not stumble over it.
        nouns = [f"{'a' if dice[0] < 0.3 else article(name)} {name}" for name in names]
        subject = (" and ", " next to ", " with ")[int(dice[1] * 3)].join(nouns)
        if generic and not paired and dice[2] < 0.35:
            text = names[0]
        elif generic:
            text = f"{('an image', 'a picture')[dice[2] > 0.8]} of {subject}"
        else:
            text = f"a {DOMAINS[domain]} of {subject}"
        tells_background = DOMAINS[domain] not in ("sketch", "poster") and dice[3] < 0.5
        return f"{text} {list(BACKGROUNDS)[background]}" if tells_background else text

    # ---------------------------------------------------------------- images

    def _draw(
        self, first: Tensor, second: Tensor, paired: Tensor, domains: Tensor, background: Tensor, g: torch.Generator
    ) -> Tensor:
        device = self.sprites.device
        count = len(first)

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return (torch.rand(count, *shape, generator=g) * (high - low) + low).to(device)

        pair = paired.to(device)
        scale = torch.where(pair, uniform(0.46, 0.54), uniform(0.80 if self.calm else 0.74, 0.94))
        sway = 0.05 if self.calm else 0.08
        offset = torch.where(pair, uniform(-0.52, -0.46), uniform(-sway, sway))  # the first named stands on the left
        layer = self._place(first, scale, offset, uniform(-sway, sway), g)
        other = self._place(second, uniform(0.46, 0.54), uniform(0.46, 0.52), uniform(-sway, sway), g, shown=pair)
        layer[pair] = other + layer[pair] * (1 - other[:, 3:])

        scenery = self._backgrounds(background.to(device), uniform(-0.06, 0.06, 3, 1, 1), uniform(-0.05, 0.05))
        images = torch.empty(count, 3, RENDER_SIZE, RENDER_SIZE, device=device)
        for index, name in enumerate(DOMAINS):
            rows = torch.nonzero(domains == index).flatten()
            if len(rows):
                rows_device = rows.to(device)
                style = getattr(self, f"_{name}")
                images[rows_device] = style(layer[rows_device], scenery[rows_device], g)
        return F.interpolate(images, size=(self.size, self.size), mode="area").clamp(0, 1)

    def _place(
        self, ids: Tensor, scale: Tensor, x: Tensor, y: Tensor, g: torch.Generator, shown: Tensor | None = None
    ) -> Tensor:
        """Premultiplied RGBA layer (B, 4, R, R): a random sprite of each id, flipped, turned, scaled, recoloured. The dice
        are thrown for all; only the rows ``shown`` (B,) are drawn."""
        count, device = len(ids), self.sprites.device
        pick = torch.rand(count, generator=g)
        chosen = torch.stack(
            [
                self._by_object[i][int(p * len(self._by_object[i]))]
                for i, p in zip(ids.tolist(), pick.tolist(), strict=True)
            ]
        )
        angle = (torch.randn(count, generator=g) * (0.03 if self.calm else 0.06)).to(device)
        mirrored = torch.rand(count, generator=g) < (0.0 if self.calm else 0.5)
        mirror = torch.where(mirrored, -1.0, 1.0).to(device)
        cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
        theta = torch.stack(
            [
                torch.stack([mirror * cos, mirror * sin, -mirror * (cos * x + sin * y)], 1),
                torch.stack([-sin, cos, sin * x - cos * y], 1),
            ],
            1,
        )
        # Gentle recolouring: brightness and a per-channel gain, so that no shade of a sprite becomes a password.
        gain = (1 + 0.08 * torch.randn(count, 3, 1, 1, generator=g)).to(device)
        chosen = chosen.to(device)
        if shown is not None:
            theta, chosen, gain = theta[shown], chosen[shown], gain[shown]
            if not len(chosen):
                return torch.zeros(0, 4, RENDER_SIZE, RENDER_SIZE, device=device)
        grid = F.affine_grid(theta, [len(chosen), 4, RENDER_SIZE, RENDER_SIZE], align_corners=False)
        layer = F.grid_sample(self.sprites[chosen], grid, mode="bilinear", align_corners=False)
        return torch.cat([(layer[:, :3] * gain).clamp(max=1).minimum(layer[:, 3:]), layer[:, 3:]], 1)

    def _backgrounds(self, background: Tensor, tint: Tensor, shift: Tensor) -> Tensor:
        device = background.device
        upper = torch.tensor([b[0] for b in BACKGROUNDS.values()], device=device)[background][:, :, None, None]
        lower = torch.tensor([b[1] for b in BACKGROUNDS.values()], device=device)[background][:, :, None, None]
        horizon = torch.tensor([b[2] or 0.0 for b in BACKGROUNDS.values()], device=device)[background] + shift
        rows = torch.linspace(0, 1, RENDER_SIZE, device=device)
        step = torch.sigmoid((rows[None] - horizon[:, None]) * 60)
        smooth = rows[None] + shift[:, None]
        has_horizon = torch.tensor([b[2] is not None for b in BACKGROUNDS.values()], device=device)[background]
        mix = torch.where(has_horizon[:, None], step, smooth.clamp(0, 1))[:, None, :, None]
        return (upper * (1 - mix) + lower * mix + tint).clamp(0, 1).expand(-1, -1, -1, RENDER_SIZE)

    # ---------------------------------------------------------------- domains: (layer, scenery) -> (B, 3, R, R)

    @staticmethod
    def _photo(layer: Tensor, scenery: Tensor, g: torch.Generator) -> Tensor:
        shadow = F.avg_pool2d(F.pad(layer[:, 3:], (3, 3, 5, 1), mode="replicate"), 7, stride=1)
        image = layer[:, :3] + (1 - layer[:, 3:]) * scenery * (1 - 0.35 * shadow)
        light = torch.linspace(-1, 1, RENDER_SIZE, device=layer.device)
        slope = (torch.randn(len(layer), 1, 1, 1, generator=g) * 0.06).to(layer.device)
        return image * (1 + slope * light)

    @staticmethod
    def _painting(layer: Tensor, scenery: Tensor, g: torch.Generator) -> Tensor:
        image = layer[:, :3] + (1 - layer[:, 3:]) * scenery
        strokes = torch.randn(len(layer), 1, RENDER_SIZE // 2, RENDER_SIZE // 8, generator=g).to(layer.device)
        strokes = F.interpolate(strokes, size=(RENDER_SIZE, RENDER_SIZE), mode="bilinear", align_corners=False)
        smooth = F.avg_pool2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
        mean = smooth.mean(1, keepdim=True)
        vivid = mean + (0.5 * image + 0.5 * smooth - mean) * 1.5
        return (torch.floor(vivid * 6 + 0.5) / 6 + 0.07 * strokes).clamp(0, 1) * 0.95 + torch.tensor(
            [0.05, 0.04, 0.0], device=layer.device
        )[:, None, None]

    @staticmethod
    def _sketch(layer: Tensor, scenery: Tensor, g: torch.Generator) -> Tensor:
        grey = layer[:, :3].mean(1, keepdim=True) + (1 - layer[:, 3:]) * 1.0
        edges = torch.zeros_like(grey)
        for channel in (grey, layer[:, 3:]):
            padded = F.pad(channel, (1, 1, 1, 1), mode="replicate")
            dx = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
            dy = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
            edges = torch.maximum(edges, torch.hypot(dx, dy))
        ink = F.max_pool2d((edges * 1.8).clamp(0, 1), 3, stride=1, padding=1)
        paper = torch.tensor([0.97, 0.96, 0.92], device=layer.device)[:, None, None]
        return paper * (1 - 0.85 * ink)

    @staticmethod
    def _silhouette(layer: Tensor, scenery: Tensor, g: torch.Generator) -> Tensor:
        dark = (torch.rand(len(layer), 3, 1, 1, generator=g) * 0.08).to(layer.device)
        bright = scenery * 0.6 + 0.4
        return dark * layer[:, 3:] + (1 - layer[:, 3:]) * bright

    @staticmethod
    def _poster(layer: Tensor, scenery: Tensor, g: torch.Generator) -> Tensor:
        """Two inks on coloured paper: the object's light and shade are kept, its own colours are not."""
        grey = layer[:, :3].mean(1, keepdim=True) / layer[:, 3:].clamp(min=1e-3)
        hue = torch.rand(len(layer), 1, 1, 1, generator=g)
        phase = torch.tensor([0.0, 1 / 3, 2 / 3])[None, :, None, None]
        ink = (0.5 + 0.5 * torch.cos(2 * torch.pi * (hue + phase))).to(layer.device)
        paper = (0.5 + 0.5 * torch.cos(2 * torch.pi * (hue + 0.5 + phase))).to(layer.device)
        tone = torch.sigmoid((grey - 0.5) * 8)
        body = (ink * 0.35) * (1 - tone) + (0.45 * ink + 0.55) * tone
        return body * layer[:, 3:] + (1 - layer[:, 3:]) * (0.25 + 0.7 * paper)


_drawing: list[World] = []  # a drawing process's own world


def _start_drawing(artwork: list[Path], objects: list[str], size: int, calm: bool) -> None:
    torch.set_num_threads(1)
    _drawing[:] = [World(artwork, objects, size, calm)]


def _draw_chunk(job: tuple[int, int]) -> Chunk:
    return _drawing[0]._draw_chunk(job)
