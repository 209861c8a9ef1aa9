"""Faces as data: landmark schemes, data sets, pictures, crops, prepared folders, augmentation and batches of views."""
