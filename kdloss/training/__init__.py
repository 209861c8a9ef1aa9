"""Training of one network. Read `fit` first: it calls the other modules in order."""
