from __future__ import annotations

import re
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

from sparsead.config.compose import compose
from sparsead.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("experiment=table3/ls4", "experiment=table3/ls4: no such choice; did you mean table3/ls4"),
        ("experiment=tabel1/snip", "tabel1/snip: no such choice; did you mean table1/snip?"),
        ("protocol.scheduler_options=[a]", "protocol.scheduler_options=[a]: must be a mapping"),
        ("task.metrics={a:1}", "task.metrics={a:1}: must be a list"),
        ("task.tests=5", "task.tests: no such key (allowed: inputs,"),
        (
            "task.train=a.csv",
            "task.train: no such key of this task; it is a key of task=complete, qa, ",
        ),
        ("task.hub=me/x", "task.hub: no such key of this task; it is a key of task=complete, "),
        ("protocol=null", "protocol=null: no such choice (allowed: "),
        ("experiment=null", "experiment=null: no such choice (allowed: "),
        ("backbone=roberta", "backbone=roberta: no such choice; did you mean roberta-base?"),
        ("adapter=hulsby", "adapter=hulsby: no such choice; did you mean houlsby?"),
        ("task=mprc", "task=mprc: no such choice; did you mean mrpc?"),
        ("pruner=snp", "pruner=snp: no such choice; did you mean snip?"),
        (
            "backbone=google-bert/bert-base-uncased",
            "backbone=google-bert/bert-base-uncased: no such choice; this model of the hub is "
            "backbone=bert-base",
        ),
        ("backbone=me/x", "; a model of the hub is given as backbone.hub=me/x beside the backbone"),
        ("+sparsity=0.4", "+sparsity=0.4: give it without +"),
        ("+experiment=table1/snip", "+experiment=table1/snip: give it without +"),
        ("++task=rte", "++task=rte: give it without +"),
        ("seed=null", "seed=null: must be a whole number"),
        ("protocol.scheduler_options.num_cycles=2", "added as +protocol.scheduler_options.num_cy"),
        ("protocol.scheduler_options={num_cycles:2}", "as +protocol.scheduler_options.num_cycl"),
        ("task=demo_rte/", "task=demo_rte/: no such choice; did you mean demo_rte?"),
        ("protocol=papr", "protocol=papr: no such choice; did you mean paper?"),
        ("protocol=3", "protocol=3: no such choice (allowed: clean, "),
        ("pruner=[snip,random]", "takes one choice; to sweep, use -m pruner=snip,random"),
        (
            "adapter=['lora']",
            "adapter=['lora']: adapter takes one choice; to sweep, use -m adapter=l",
        ),
        ("sparsity=[0.4,0.5]", "takes one choice; to sweep, use -m sparsity=0.4,0.5"),
        ("task=[cola,rte],mrpc", "takes one choice; to sweep, use -m task=cola,rte"),
        ("sparsity=large", "sparsity=large: no such choice; did you mean large_sparse?"),
        ("protcol=paper", "protcol: no such key; did you mean protocol?"),
        ("serch=grid", "serch: no such key; did you mean search?"),
        ("experiments=table1/snip", "experiments: no such key; did you mean experiment?"),
        ("protcol.epochs=3", "protcol.epochs: no such key; did you mean protocol.epochs?"),
        ("adapter.botleneck=3", "adapter.botleneck: no such key; did you mean adapter.bottleneck?"),
        ("snip", "snip: cannot be read as KEY=VALUE"),
        ("adapter=[houlsby", "adapter=[houlsby: cannot be read as KEY=VALUE"),
        ("=1", "=1: cannot be read as KEY=VALUE; it has no key"),
        ("+=a", "+=a: cannot be read as KEY=VALUE; it has no key"),
        ("seed=${nope}", "seed: Interpolation key 'nope' not found"),
        ("seed=${oc.env:NO_SUCH_VARIABLE}", "seed: KeyError raised while resolving interpolation"),
        ("+seed=1", "already at 'seed'; Either remove + prefix: 'seed=1'; Or add a second +"),
        ("task@x=mrpc", "Could not override 'task@x'; Did you mean to override task?; To append"),
        ("hydra.job.chdir=x", "hydra.job.chdir: Value 'x' is not a valid bool"),
        ("hydra.mode=nope", "hydra.mode: Invalid value 'nope', expected one of [RUN, MULTIRUN]"),
        ("pruner={a:1}", "pruner.a: no such key"),
    ],
)
def test_a_wrong_override_is_one_line_with_the_nearest_choice(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        compose([override])
    assert "\n" not in str(error.value)


def test_another_program_of_hydra_keeps_its_own_configuration(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("x: 1\n")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.2"):
        loader = GlobalHydra.instance().config_loader()
        assert compose(["backbone=tiny-bert"]).backbone.name == "tiny-bert"
        with pytest.raises(ConfigError, match="x: no such key"):
            compose(["x=2"])
        assert GlobalHydra.instance().config_loader() is loader
        assert hydra.compose("train") == {"x": 1}
    assert not GlobalHydra.instance().is_initialized()
