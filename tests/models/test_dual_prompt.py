import open_clip
import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer

from models.dual_prompt import DualPromptClassifier, aggregate_regions, presence, region_features
from models.feature_fusion import FeatureFusion, GlobalBranch, add_feature_fusion
from models.losses import AsymmetricLoss

POCKET = "local-dir:models/pocket/clip"
NAMES = ["dog", "car", "traffic light"]


def pocket():
    return open_clip.create_model_and_transforms(POCKET)[0], open_clip.get_tokenizer(POCKET)


def classifier(**settings) -> DualPromptClassifier:
    torch.manual_seed(0)
    return DualPromptClassifier(*pocket(), NAMES, **({"context": 8} | settings))


def pixels(count: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def vit(**settings) -> VisionTransformer:
    torch.manual_seed(0)
    shape = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "heads": 4, "mlp_ratio": 2, "output_dim": 16}
    return VisionTransformer(**(shape | settings)).eval()


def test_the_first_region_of_a_resnet_is_the_mean_of_what_the_others_are():
    visual = pocket()[0].visual.eval()
    regions = region_features(visual, pixels())
    assert regions.shape == (4, 1 + 2 * 2, 256)
    visual.attnpool.positional_embedding.data.zero_()
    regions = region_features(visual, pixels())
    assert torch.allclose(regions[:, 0], regions[:, 1:].mean(1), atol=1e-5)


def test_a_resnet_takes_images_of_another_size():
    assert region_features(pocket()[0].visual.eval(), torch.randn(2, 3, 96, 128)).shape == (2, 1 + 3 * 4, 256)


def test_a_vision_transformer_has_a_region_for_the_class_token_and_each_patch():
    assert region_features(vit(), torch.randn(2, 3, 32, 32)).shape == (2, 1 + 4 * 4, 16)


def test_a_vision_transformer_of_one_attended_token_is_itself():
    """With one block and all tokens alike, attention to oneself is attention to all: the class feature is CLIP's own."""
    tower = vit(layers=1)
    tower.conv1.weight.data.zero_()
    tower.positional_embedding.data.zero_()
    tower.class_embedding.data.zero_()
    image = torch.randn(1, 3, 32, 32)
    assert torch.allclose(region_features(tower, image)[:, 0], tower(image), atol=1e-5)


def test_in_the_last_block_regions_keep_to_themselves():
    tower, image = vit(layers=1), torch.randn(1, 3, 32, 32, requires_grad=True)
    region_features(tower, image)[0, 1].sum().backward()
    touched = image.grad.abs().sum((0, 1)) > 0
    assert touched[:8, :8].all()
    assert not touched[8:].any()
    assert not touched[:, 8:].any()


@pytest.mark.parametrize(
    ("tower", "sentence"),
    [(torch.nn.Conv2d(3, 3, 1), "Conv2d is no tower"), (vit(attentional_pool=True), "pools by attention")],
)
def test_other_towers_are_refused(tower, sentence):
    with pytest.raises(ValueError, match=sentence):
        region_features(tower, torch.randn(1, 3, 32, 32))


def test_aggregation_is_a_cosine_weighted_by_the_positive_prompt():
    torch.manual_seed(0)
    regions, texts = torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, 3, 8, dtype=torch.float64)
    logits = aggregate_regions(regions, texts)
    cosine = torch.nn.functional.cosine_similarity
    for b in range(2):
        for c in range(3):
            positive = torch.stack([cosine(texts[1, c], r, dim=0) for r in regions[b]])
            negative = torch.stack([cosine(texts[0, c], r, dim=0) for r in regions[b]])
            weights = (20 * positive).softmax(0)
            assert torch.isclose(logits[b, 1, c], 100 * (weights * positive).sum())
            assert torch.isclose(logits[b, 0, c], 100 * (weights * negative).sum())
    assert torch.allclose(presence(logits), logits.softmax(1)[:, 1])


def test_only_contexts_learn_and_the_towers_stay_in_eval_mode():
    model = classifier()
    learning = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {"prompts.negative": 8 * 128, "prompts.positive": 8 * 128}
    assert model.training
    assert not any(module.training for module in model.clip.modules())
    before = {name: tensor.clone() for name, tensor in model.clip.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 5e-5)
    targets, losses = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]), []
    for _ in range(8):
        loss = AsymmetricLoss(2, 1)(model(pixels()), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.clip.state_dict().items())


def test_a_context_of_ordinary_words_is_an_ordinary_prompt():
    """With the embeddings of real words as contexts, the text feature is CLIP's of the sentence they make."""
    model = classifier(context=3)
    clip, tokenizer = model.clip, pocket()[1]
    words = tokenizer(["a photo of dog."])
    with torch.no_grad():
        model.prompts.positive.copy_(clip.token_embedding(words)[0, 1:4])
        assert torch.allclose(model.texts()[1, 0], clip.encode_text(words)[0], atol=1e-5)
        assert torch.allclose(
            clip.encode_text(words), pocket()[0].eval().encode_text(words), atol=1e-5
        )  # the hook is gone


def test_classes_asked_for_score_as_among_all():
    model = classifier().eval()
    with torch.no_grad():
        assert torch.allclose(model(pixels(), [2, 0]), model(pixels())[:, :, [2, 0]], atol=1e-4)


def test_scores_do_not_depend_on_the_batch():
    model = classifier(fusion_scale=0.1)
    with torch.no_grad():
        alone = torch.cat([model(image[None]) for image in pixels()])
        assert torch.allclose(model(pixels()), alone, atol=1e-3)


def test_contexts_load_under_other_names():
    first, other = classifier(), DualPromptClassifier(*pocket(), ["frog", "dog"], context=8)
    other.load_state_dict(first.state_dict())
    with torch.no_grad():
        assert torch.allclose(other.texts()[:, 1], first.texts()[:, 0], atol=1e-6)


def test_a_context_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="'dog': 4 tokens around 64 of context do not fit the text encoder's 24"):
        classifier(context=64)


@pytest.mark.parametrize("context", [20, 19])
def test_the_longest_context_that_fits_is_taken(context):
    model = DualPromptClassifier(*pocket(), ["dog"], context=context)
    assert model.texts().shape == (2, 1, 256)


def test_any_open_clip_tower_pair_works():
    """A ViT with a separate text module, built as open_clip builds it, without weights."""
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
        "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=32)
    for kind in (open_clip.CLIP, open_clip.CustomTextCLIP):
        clip = kind(**config)
        model = DualPromptClassifier(clip, tokenizer, NAMES, context=16)
        logits = model(torch.randn(2, 3, 32, 32))
        logits.sum().backward()
        assert logits.shape == (2, 2, 3)
        assert model.prompts.positive.grad.abs().sum() > 0


def test_fusion_learns_beside_the_contexts_and_starts_near_the_identity():
    plain, fused = classifier(), classifier(fusion_scale=1e-4)
    with torch.no_grad():
        assert torch.allclose(plain(pixels()), fused(pixels()), rtol=1e-2, atol=1e-2)
    fused(pixels()).sum().backward()
    learning = [name for name, p in fused.named_parameters() if p.requires_grad]
    assert all(fused.get_parameter(name).grad is not None for name in learning)
    assert {name.split(".")[0] for name in learning} == {
        "prompts",
        "clip",
    }  # a branch is known by its place in the tower
    assert len(fused.fusion) == 3


def test_fusion_wraps_the_same_convolutions_once():
    visual = pocket()[0].visual
    assert len(add_feature_fusion(visual)) == 3
    wrapped = [module for module in visual.modules() if isinstance(module, FeatureFusion)]
    assert [module.conv.in_channels for module in wrapped] == [48, 96, 192]
    with pytest.raises(ValueError, match="ModifiedResNet: no 3x3 convolution"):
        add_feature_fusion(visual)


def test_a_vision_transformer_has_nowhere_to_put_a_branch():
    with pytest.raises(ValueError, match="VisionTransformer: no 3x3 convolution of 33 channels or more"):
        add_feature_fusion(vit())


def test_a_branch_permutes_as_the_pixels_do():
    torch.manual_seed(0)
    branch, x = GlobalBranch(64).eval(), torch.randn(2, 64, 49)
    order = torch.randperm(49)
    with torch.no_grad():
        straight = branch(x.reshape(2, 64, 7, 7)).flatten(2)[:, :, order]
        permuted = branch(x[:, :, order].reshape(2, 64, 7, 7)).flatten(2)
    assert torch.allclose(straight, permuted, atol=1e-6)


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="60 channels"):
        GlobalBranch(60)


def test_strided_convolutions_are_left_alone():
    tower = torch.nn.Sequential(torch.nn.Conv2d(64, 64, 3, stride=2, padding=1), torch.nn.Conv2d(64, 64, 3, padding=1))
    assert len(add_feature_fusion(tower)) == 1
    assert isinstance(tower[0], torch.nn.Conv2d)


def test_the_pocket_clip_is_a_resnet():
    assert isinstance(pocket()[0].visual, ModifiedResNet)


def test_a_class_specific_context_is_of_its_class_alone():
    model = classifier(class_specific=True).eval()
    assert model.prompts.positive.shape == (3, 8, model.prompts.positive.shape[-1])
    before = model.texts()
    with torch.no_grad():
        model.prompts.positive[1] += 0.1
    after = model.texts()
    changed = (after - before).abs().amax(-1) > 1e-6
    assert changed.tolist() == [[False, False, False], [False, True, False]]
    assert torch.allclose(model.texts([2, 1]), after[:, [2, 1]], atol=1e-5)


@pytest.mark.parametrize("class_specific", [False, True])
def test_a_context_begins_as_words(class_specific):
    clip, tokenizer = pocket()
    model = DualPromptClassifier(clip, tokenizer, NAMES, 6, class_specific=class_specific, init_words="a photo of a")
    tokens = tokenizer(["a photo of a"])[0, 1:5]
    own = model.prompts.negative[..., :4, :].detach()
    assert torch.equal(own, clip.token_embedding.weight[tokens].expand_as(own))
    with pytest.raises(ValueError, match="4 tokens for 3 vectors of context"):
        DualPromptClassifier(clip, tokenizer, NAMES, 3, init_words="a photo of a")
