import pytest

from figment.licences import clip_licence, licence_of


def test_a_card_that_declares_a_licence_is_quoted(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: creativeml-openrail-m\ntags: [x]\n---\n# A model\n")
    (tmp_path / "LICENSE").write_text("long text")
    assert licence_of(str(tmp_path)) == "creativeml-openrail-m"
    assert clip_licence(f"local-dir:{tmp_path}", None) == "creativeml-openrail-m"


def test_else_the_text_beside_the_weights(tmp_path):
    assert licence_of(str(tmp_path)) == f"not stated in {tmp_path}"
    (tmp_path / "LICENSE").write_text("\n".join(f"line {i}" for i in range(100)))
    assert licence_of(str(tmp_path)).splitlines()[-1] == "line 19"
    assert "Noto Emoji" in licence_of("models/pocket/diffusion")


@pytest.mark.parametrize(
    ("model", "pretrained"), [("ViT-B-32", "openai"), ("hf-hub:timm/vit_base_patch32_clip_224.openai", None)]
)
def test_a_model_that_is_not_here_says_where_to_look(model, pretrained):
    said = clip_licence(model, pretrained)
    assert said == "not stored here; see https://huggingface.co/timm/vit_base_patch32_clip_224.openai"
