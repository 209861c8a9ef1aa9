"""The local page: landmarks of a photograph or of the camera, in the browser. `python -m kdloss.serve` runs it."""
