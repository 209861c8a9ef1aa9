"""The data: landmark schemes, data sets, prepared folders, geometry, views and batches."""
