"""Training of one network: `fit` is the story, the other modules are its chapters."""
