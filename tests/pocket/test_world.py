from pathlib import Path

import pytest
import torch

from pocket.artwork import OBJECTS
from pocket.tokenizer import CONTEXT_LENGTH, build_world_tokenizer
from pocket.world import BACKGROUNDS, DOMAINS, Scenes, World

OBJECT_NAMES = list(OBJECTS)


@pytest.fixture(scope="module")
def world() -> World:
    return World([Path("data/artwork/noto.parquet")], OBJECT_NAMES)


def scenes_of(world: World, count: int = 40, seed: int = 0, **choices) -> Scenes:
    return world.sample(count, torch.Generator().manual_seed(seed), **choices)


def test_the_same_seed_draws_the_same_scenes(world):
    a, b = scenes_of(world), scenes_of(world)
    assert torch.equal(a.pixels, b.pixels)
    assert a.captions == b.captions


def test_captions_name_what_is_shown(world):
    scenes = scenes_of(world, 200)
    assert scenes.pixels.shape == (200, 3, 32, 32)
    assert scenes.pixels.min() >= 0
    assert scenes.pixels.max() <= 1
    for caption, shown, domain in zip(scenes.captions, scenes.objects, scenes.domains.tolist(), strict=True):
        for i in shown.nonzero().flatten().tolist():
            assert OBJECT_NAMES[i] in caption
        said = [d for d in DOMAINS if f"a {d} of" in caption]
        assert said in ([], [DOMAINS[domain]])


def test_pairs_show_two_objects_and_singles_one(world):
    assert set(scenes_of(world, pairs=1.0).objects.sum(1).tolist()) == {2}
    assert set(scenes_of(world, pairs=0.0).objects.sum(1).tolist()) == {1}


def test_domains_look_different(world):
    ids = torch.arange(32)
    images = {d: scenes_of(world, 32, objects=ids, domain=d, pairs=0).pixels for d in DOMAINS}
    assert images["sketch"].std(1).mean() < 0.1 * images["photo"].std(1).mean() + 0.02  # lines have no colour
    assert images["silhouette"].amin((1, 2, 3)).max() < 0.15  # all are dark somewhere


def test_scenes_survive_the_disk(world, tmp_path):
    scenes = scenes_of(world, 10)
    scenes.save(tmp_path / "bank.safetensors")
    loaded = Scenes.load(tmp_path / "bank.safetensors")
    assert loaded.captions == scenes.captions
    assert torch.equal(loaded.objects, scenes.objects)
    assert torch.allclose(loaded.batch(torch.arange(10)), scenes.pixels * 2 - 1, atol=0.005)


def test_an_object_without_a_sprite_is_named():
    with pytest.raises(ValueError, match="no sprite for \\['dragon'\\]"):
        World([Path("data/artwork/noto.parquet")], ["dog", "dragon"])


def test_every_word_of_the_world_is_one_token_and_any_text_encodes(tmp_path):
    tokenizer = build_world_tokenizer(OBJECT_NAMES, tmp_path)
    for word in {w for phrase in (*OBJECT_NAMES, *BACKGROUNDS, *DOMAINS) for w in phrase.split()}:
        assert len(tokenizer(word).input_ids) == 3, word
    text = "xylophone ünicode"
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text
    longest = "a silhouette of a traffic light next to a potted plant on a yellow background"
    assert len(tokenizer(longest).input_ids) <= CONTEXT_LENGTH


def test_a_crowd_shows_one_to_four_different_objects_each_number_as_often(world):
    scenes = world.crowd(400, torch.Generator().manual_seed(0))
    counts = scenes.objects.sum(1).bincount(minlength=5).tolist()
    assert scenes.pixels.shape == (400, 3, 32, 32)
    assert counts[0] == 0
    assert all(70 < count < 130 for count in counts[1:])
    for caption, shown in zip(scenes.captions, scenes.objects, strict=True):
        named = {caption_name.removeprefix("an ").removeprefix("a ") for caption_name in caption[11:].split(" and ")}
        assert named == {OBJECT_NAMES[i] for i in shown.nonzero().flatten().tolist()}


def test_what_a_crowd_shows_can_be_told_from_what_it_does_not(world):
    """The same dice with one sprite blackened: the images that change are those said to show it."""
    other = World([Path("data/artwork/noto.parquet")], OBJECT_NAMES)
    changed = OBJECT_NAMES.index("pizza")
    other.sprites[other.sprite_object == changed, :3] = 0
    first, second = (w.crowd(200, torch.Generator().manual_seed(1)) for w in (world, other))
    differs = (first.pixels != second.pixels).flatten(1).any(1)
    assert torch.equal(differs, first.objects[:, changed] > 0)


def test_a_crowd_is_at_most_four_and_at_most_all(world):
    for most in (0, 5):
        with pytest.raises(ValueError, match="a scene shows 1 to 4"):
            world.crowd(1, torch.Generator(), most)


def test_a_bank_is_the_same_by_one_process_and_by_two(world):
    one, two = (world.render(70, seed=4, processes=n, chunk=30) for n in (1, 2))
    assert one.digest == two.digest
    assert len(one.captions) == len(set(map(bytes, one.pixels.numpy()))) == 70  # no chunk repeats another
    assert one.pixels.dtype == torch.uint8
