from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from mmcl.errors import UserError
from mmcl.export import ModelCardFacts, export_model
from mmcl.losses.distillation import distillation_loss, feature_distillation_loss
from mmcl.model import TwoTower, build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import CLIPConfig, DistillationConfig
from mmcl.objectives.distillation import DistillationObjective
from tests.objectives.small_modules import batch_of
from tests.tiny import bert_alone, vit_bert_pair


def save_teacher(folder: Path, tokenizer: str, seed: int = 1, **fields: object) -> TwoTower:
    """A model of other weights, and a folder of it."""
    model = build_model(vit_bert_pair(tokenizer, **fields), seed)  # type: ignore[arg-type]
    export_model(model, folder, ModelCardFacts("teacher"))
    return model.eval()


def module_with(student: TwoTower, **fields: object) -> ContrastiveModule:
    return ContrastiveModule(student, [DistillationConfig.model_validate(fields)])


def test_it_is_the_loss_of_both_models_embeddings_at_their_own_temperatures(tokenizer: str, tmp_path: Path) -> None:
    teacher = save_teacher(tmp_path / "teacher", tokenizer, temperature=0.5)
    student = build_model(vit_bert_pair(tokenizer, temperature=0.2)).eval()
    batch = batch_of(6, num_groups=3)
    made = [
        (model.encode_image(batch.images[0]).embeddings, model.encode_text(batch.texts[0]).embeddings)
        for model in (student, teacher)
    ]
    relations, features = distillation_loss(*made, 5.0, 2.0), feature_distillation_loss(*made)
    found = module_with(student, teacher=str(tmp_path / "teacher"), feature_weight=3)(batch)
    torch.testing.assert_close(found.loss, relations + 3 * features)
    assert found.chance == pytest.approx(math.log(6) + 12)
    warmer = module_with(student, teacher=str(tmp_path / "teacher"), temperature=0.1)(batch)
    torch.testing.assert_close(warmer.loss, distillation_loss(*made, 5.0, 10.0))


def test_without_a_name_the_teacher_is_the_model_as_it_was(tokenizer: str) -> None:
    student, batch = build_model(vit_bert_pair(tokenizer)).double().eval(), batch_of(6)
    module = module_with(student)
    module(batch).loss.backward()
    assert all(float(one.grad.abs().max()) < 1e-12 for one in student.parameters() if one.grad is not None)
    start = {name: value.clone() for name, value in student.state_dict().items()}
    with torch.no_grad():
        for parameter in student.towers.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    objective = module.objectives["distillation"]
    assert isinstance(objective, DistillationObjective)
    found = objective.teacher.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in start.items())
    module.zero_grad()
    module(batch).loss.backward()
    assert any(float(one.grad.abs().max()) > 1e-4 for one in student.parameters() if one.grad is not None)


def test_the_teacher_is_in_no_state_nor_among_the_parameters_and_stays_in_evaluation_mode(tokenizer: str) -> None:
    student = build_model(vit_bert_pair(tokenizer, dropout=0.3))
    module = module_with(student)
    module.train()
    assert module.state_dict().keys() == {f"model.{name}" for name in student.state_dict()}
    assert len(list(module.parameters())) == len(list(student.parameters()))
    objective = module.objectives["distillation"]
    assert isinstance(objective, DistillationObjective)
    assert not any(one.training for one in objective.teacher.model.modules())
    assert not any(one.requires_grad for one in objective.teacher.model.parameters())


def test_with_clip_in_one_step_it_counts_by_its_weight(tokenizer: str) -> None:
    student = build_model(vit_bert_pair(tokenizer)).eval()
    distillation = DistillationConfig(weight=0.25, temperature=0.5)
    output = ContrastiveModule(student, [CLIPConfig(), distillation])(batch_of(6))
    torch.testing.assert_close(output.loss.detach(), output.losses["clip"] + 0.25 * output.losses["distillation"])


def test_a_translation_is_taught_the_teachers_embedding_of_the_original(tokenizer: str, tmp_path: Path) -> None:
    teacher = build_model(bert_alone(tokenizer), seed=1).eval()
    export_model(teacher, tmp_path / "teacher", ModelCardFacts("teacher"))
    student, batch = build_model(bert_alone(tokenizer)).eval(), batch_of(6)
    fields: dict[str, object] = {"views": ("text.0", "text.1"), "teacher_views": ("text.0", "text.0")}
    fields |= {"teacher": str(tmp_path / "teacher"), "feature_weight": 2, "similarity_weight": 0}
    output = module_with(student, **fields)(batch)
    original, translation = (student.encode_text(batch.texts[number]).embeddings for number in (0, 1))
    target = teacher.encode_text(batch.texts[0]).embeddings
    distances = (original - target).square().sum(dim=1) + (translation - target).square().sum(dim=1)
    torch.testing.assert_close(output.loss, 2 * distances.mean())
    assert output.chance == 8
    fields |= {"similarity_weight": 3, "feature_weight": 0}
    output = module_with(student, **fields)(batch)
    scale = 1 / 0.07
    similarity = distillation_loss((original, translation), (target, target), scale, scale)
    torch.testing.assert_close(output.loss, 3 * similarity)


def test_what_the_teacher_sees_is_of_the_views_and_something_is_learnt() -> None:
    for views in (("text.0",), ("text.0", "text.1")):
        with pytest.raises(ValueError, match=r"must be two, each one of the views \['image.0', 'text.0'\]"):
            DistillationConfig(teacher_views=views)
    with pytest.raises(ValueError, match="and so is feature_weight"):
        DistillationConfig(similarity_weight=0)


def test_features_of_another_width_are_refused_and_similarities_are_not(tokenizer: str, tmp_path: Path) -> None:
    save_teacher(tmp_path / "teacher", tokenizer, embedding_dim=12)
    student = build_model(vit_bert_pair(tokenizer))
    assert module_with(student, teacher=str(tmp_path / "teacher"))(batch_of(6)).loss.isfinite()
    with pytest.raises(UserError, match="the teacher's have 12 dimensions, the student's 8"):
        module_with(student, teacher=str(tmp_path / "teacher"), feature_weight=1)


def test_a_teacher_without_one_of_the_towers_is_refused(tokenizer: str, tmp_path: Path) -> None:
    export_model(build_model(bert_alone(tokenizer)), tmp_path / "teacher", ModelCardFacts("teacher"))
    with pytest.raises(UserError, match=r"distillation\.teacher: it has no image tower, it is a model of texts alone"):
        module_with(build_model(vit_bert_pair(tokenizer)), teacher=str(tmp_path / "teacher"))


def test_a_teacher_that_is_not_there_is_told_by_its_key(tokenizer: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"distillation\.teacher: .*nowhere"):
        module_with(build_model(vit_bert_pair(tokenizer)), teacher=str(tmp_path / "a/nowhere"))
