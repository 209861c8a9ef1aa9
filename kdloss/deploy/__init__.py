"""From a trained network to files for other machines: LiteRT, 16 bits, model cards."""
