from __future__ import annotations

import re

import pytest

from sparsead.config.compose import compose
from sparsead.errors import ConfigError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["protocol.scheduler=cosin"],
            "protocol.scheduler=cosin: no such choice; did you mean cos",
        ),
        (
            ["protocol.scheduler=constant"],
            "protocol.scheduler=constant: has no warm-up; add protocol.",
        ),
        (
            ["protocol.warmup=1.5"],
            "protocol.warmup=1.5: must be a share of the steps, which is at l",
        ),
        (["protocol.warmup=-1"], "protocol.warmup=-1: must be a share"),
        (
            ["protocol.gradient_accumulation=0"],
            "protocol.gradient_accumulation=0: must be at least 1",
        ),
        (["protocol.max_steps=0"], "protocol.max_steps=0: must be at least 1"),
        (["protocol.patience=3"], "protocol.patience=3: watches the score on a held-out part"),
        (["protocol.patience=0", "protocol=clean"], "protocol.patience=0: must be at least 1"),
        (["protocol.label_smoothing=1"], "protocol.label_smoothing=1: must be in [0, 1)"),
        (
            ["protocol.label_smoothing=0.1", "task=stsb"],
            "protocol.label_smoothing=0.1: task=stsb predicts neither classes nor texts",
        ),
        (
            ["protocol.label_smoothing=0.1", "task=squad"],
            "protocol.label_smoothing=0.1: task=squad predicts neither",
        ),
        (["protocol.class_weights=true"], "protocol.class_weights=true: must be a text or null"),
        (["protocol.class_weights=equal"], "protocol.class_weights=equal: no such choice"),
        (
            ["protocol.class_weights=balanced", "task=xsum"],
            "protocol.class_weights=balanced: task=xsum predicts no classes",
        ),
        (["protocol.head_learning_rate=2"], "protocol.head_learning_rate=2: must be above 0"),
        (
            ["protocol.head_learning_rate=1e-3", "adapter.head=frozen"],
            "protocol.head_learning_rate=0.001: the head is frozen (adapter.head=frozen)",
        ),
        (["protocol.layer_decay=0"], "protocol.layer_decay=0: must be above 0, and at most 1"),
        (["protocol.deterministic=true", "device=cpu"], "protocol.deterministic=true: is for CUDA"),
        (["device=gpu"], "device=gpu: no such choice; did you mean cuda?"),
        (["protocol.early_stopping=3"], "did you mean protocol.patience?"),
        (["protocol.warmup_steps=3"], "did you mean protocol.warmup?"),
    ],
)
def test_an_option_that_cannot_apply_is_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        compose(overrides)
    assert "\n" not in str(error.value)


def test_steps_are_counted_as_the_trainer_does() -> None:
    spec = compose(["protocol.epochs=3", "protocol.batch_size=8"])
    assert spec.protocol.steps(20) == 9
    spec = compose(
        ["protocol.epochs=3", "protocol.batch_size=8", "protocol.gradient_accumulation=2"]
    )
    assert spec.protocol.steps(20) == 6
    assert spec.protocol.share_of_batch(4) == 2
    with pytest.raises(ConfigError, match=r"cannot be divided among 3 processes; .*batch_size=9,"):
        spec.protocol.share_of_batch(3)
    assert compose(["protocol.max_steps=4"]).protocol.steps(1000) == 4
