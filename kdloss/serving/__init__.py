"""The local web page that shows landmarks of a photograph or the camera; `python -m kdloss.serve` runs it."""
