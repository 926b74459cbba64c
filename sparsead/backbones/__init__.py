"""Loading pretrained models, and the map of the sites where adapters go in."""
