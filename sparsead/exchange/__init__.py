"""Adapters in the formats of other libraries: AdapterHub's `adapters` and Hugging Face's `peft`."""
