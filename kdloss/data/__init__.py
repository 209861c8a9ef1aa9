"""Faces: schemes, data sets, geometry, prepared folders, views and batches of them."""
