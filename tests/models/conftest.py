"""The tiny networks by name, beside the real ones."""

from tests.training.tiny_chain import tiny_networks as tiny_networks
