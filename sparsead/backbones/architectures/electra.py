"""ELECTRA: the layers are BERT's."""

from dataclasses import replace

from sparsead.backbones.architectures import bert

ARCHITECTURE = replace(bert.ARCHITECTURE, model_type="electra")
